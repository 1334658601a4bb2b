"""Each arm's tuning: the same budget in a study of its own, on dev documents."""

import optuna

from common.allocator import free_finished_runs
from common.arms.arm import Arm
from common.errors import NlaError
from common.lifecycle.identity import code_of, command
from common.manifest import digest_of
from common.params import SearchSpace
from common.paths import EXPERIMENTS, OPTUNA_URI
from common.processes import check_shares, everywhere
from common.runs import MadeWith
from common.tracking.tracker import log_sweep, tracked_run
from common.tuning.study import Best, Sweep, known_best, trials_table
from common.tuning.sweep import run_sweep
from common.tuning.trials import slot_of

NOTHING_TUNED = Best({}, (), 0, 0)
TRIAL_SEED = -1
"""Seed of every trial, so that no seed of the final runs was used in tuning."""


def sweep_of(arm: Arm) -> Sweep:
    """This arm's study; its name changes with all settings and data that a trial depends on.

    It does not change with the code, which each trial records instead, nor with a setting at its
    default: new code or a new option does not discard a study.
    """
    tuning, space = arm.profile.tuning, search_space(arm)
    settings = {"arm": arm.settings, "tuned": arm.tuned}
    settings |= {name: getattr(arm.profile, name) for name in arm.sections}
    chosen = {
        name: value.model_dump(mode="json", exclude_defaults=True) if value else None
        for name, value in settings.items()
    }
    digest = digest_of([arm.trained_with(TRIAL_SEED) | chosen, space, tuning.examples])
    experiment = f"{arm.profile.name}/{arm.plan.experiment}"
    return Sweep(
        name=f"{experiment}/{arm.name}/{digest}",
        space=space,
        budget=tuning.trials,
        config_digest=digest,
        first={name: getattr(arm.tuned, name) for name in space},
        sampler_key=experiment,
        storage=tuning.storage or OPTUNA_URI,
    )


def search_space(arm: Arm) -> SearchSpace:
    """The experiment's search space in absolute numbers, around the profile's own setting."""
    space = {}
    for name, number in arm.plan.search.items():
        try:
            space[name] = number.around(getattr(arm.tuned, name))
        except (ValueError, AttributeError) as error:
            where = EXPERIMENTS / arm.plan.experiment / "params.yaml"
            remedy = f"change {name} in profile {arm.profile.name}, or the range"
            raise NlaError(f"search.{name}: {error}", where=where, remedy=remedy) from error
    return space


def known(arm: Arm) -> Best | None:
    """The best trial of a study whose budget is spent, or of one that needs none; else None."""
    if not arm.plan.search:
        return NOTHING_TUNED
    sweep = sweep_of(arm)
    best = known_best(sweep)
    return best if best and best.trials >= sweep.budget else None


def tune(arm: Arm) -> Best:
    """Spend the arm's budget (shared with other workers); returns at once if it is spent.

    An experiment that searches nothing runs the profile's own setting.
    """
    if not arm.plan.search:
        return NOTHING_TUNED
    check_shares(arm.profile, **arm.global_batch_sizes)
    sweep = sweep_of(arm)
    best = run_sweep(sweep, lambda trial, params: _trial(arm, trial, params))
    facts = {"trials": best.trials, "best_trial": best.number}
    facts |= {f"best_{arm.objective}": best.values[0]}
    facts |= {f"best_{name}": value for name, value in best.params.items()}
    trials = trials_table(sweep.name, sweep.storage)
    log_sweep(arm.run_folder(arm.seeds[0]), facts, trials.write_csv())
    return best


def _trial(arm: Arm, trial: optuna.Trial, params: dict[str, float]) -> float:
    assert arm.tuned, "what is tuned has settings"
    free_finished_runs()
    code = code_of(arm)
    trial.set_user_attr("code", code["trained"])
    folder = arm.run_folder(f"trial-{slot_of(trial)}")
    trained = arm.trained_with(TRIAL_SEED) | {"params": params}
    folder.begin(MadeWith(trained, {}, code, command(arm)))
    with tracked_run(folder) as tracker:
        task = (tracker, arm.tuned.replace(**params), TRIAL_SEED)
        others = (*task, optuna.trial.FixedTrial(params))  # only the leader reports to Optuna
        _, facts = everywhere(arm.profile, arm.train, *task, trial, others=others)
        folder.finish({**facts, **params})
    return facts[arm.objective]
