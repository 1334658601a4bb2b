"""Run a study: an exact budget, shared by any number of workers; a kill loses nothing.

Workers may be processes on any machines that reach the storage. A trial whose process died runs
again with the same parameters in the same slot of the budget. One that raised runs once more (by
another worker, or at the next start); if it raises again, its slot goes to a new setting. The
k-th setting is drawn with its own seed, so that a single worker's sweep that was killed and
resumed draws the same settings as an uninterrupted one.
"""

import contextlib
import logging
import math
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Callable

import optuna
from optuna.trial import TrialState

from common.errors import NlaError
from common.params import SearchSpace
from common.seeding import keyed_seed
from common.tuning.study import STARTUP_TRIALS, Best, Sweep, best_of, open_study
from common.tuning.trials import Lease, Slots, Watch, slot_of

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
Objective = Callable[[optuna.Trial, dict[str, float]], float | tuple[float, ...]]


def suggest(trial: optuna.Trial, space: SearchSpace) -> dict[str, float]:
    """One value for each number that is searched."""
    return {
        name: trial.suggest_float(name, number.low, number.high, log=number.log)
        for name, number in space.items()
    }


def run_sweep(sweep: Sweep, objective: Objective) -> Best:
    """Work until the budget is spent, by this worker or others; return the best trial.

    `objective(trial, params)` returns one finite float per direction. With one direction it may
    call `trial.report(value, step)`, step = 1, 2, ... counting its validations, and raise
    `optuna.TrialPruned`. Its other exceptions are passed on. A finished study returns at once.
    """
    study, watch, waiting = open_study(sweep), Watch(), False
    while (slots := _slots(study, sweep)).finished < sweep.budget:
        watch.fail_dead(study, slots.running)
        for slot, params in _slots(study, sweep).lost():
            study.enqueue_trial(params, user_attrs={"retry_of": slot})
        slots = _slots(study, sweep)
        if slots.queued or slots.room:
            _run_trial(study, sweep, objective)
            continue
        if not waiting:
            logger.info("%s: waiting for trials that run elsewhere", sweep.name)
            waiting = True
        time.sleep(POLL_SECONDS)
    return best_of(study)


def spawn_workers(command: list[str], count: int, gpus: int = 0) -> None:
    """Run `count` copies of a command and wait for all; NlaError if one exits with an error.

    With several GPUs each worker sees one of them, in turn. If the wait is interrupted (Ctrl-C),
    the workers are ended too.
    """
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = known.split(",") if known else [str(number) for number in range(gpus)]
    turns = [{"CUDA_VISIBLE_DEVICES": names[number % gpus]} for number in range(count) if gpus > 1]
    seen = turns or [{}] * count
    workers = [subprocess.Popen(command, env=os.environ | one) for one in seen]
    try:
        while any(worker.poll() is None for worker in workers):
            time.sleep(0.2)
    finally:
        _end(workers)
    failed = [worker.returncode for worker in workers if worker.returncode]
    if failed:
        what = f"{len(failed)} of {count} workers failed (exit status {failed[0]})"
        raise NlaError(what, remedy="mend the error above and run the same command again")


def _run_trial(study: optuna.Study, sweep: Sweep, objective: Objective) -> None:
    trial = study.ask()
    try:
        with Lease(trial):
            values, state = _outcome(study, trial, sweep, objective)
    except optuna.TrialPruned:
        values, state = None, TrialState.PRUNED
    except BaseException as error:
        _fail(study, trial, error)
        raise
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        study.tell(trial, values, state, skip_if_finished=True)
    logger.info("%s: trial %d: %s", sweep.name, trial.number, values or state.name.lower())


def _outcome(
    study: optuna.Study, trial: optuna.Trial, sweep: Sweep, objective: Objective
) -> tuple[list[float] | None, TrialState]:
    """The result of a trial: the objective, or FAIL if others had already spent the budget."""
    slots = _slots(study, sweep)
    if not slots.may_run(trial.number):
        trial.set_user_attr("surplus", True)
        return None, TrialState.FAIL
    study.sampler = _sampler(sweep, slots.rank(slot_of(trial)))
    outcome = objective(trial, suggest(trial, sweep.space))
    values = [float(value) for value in (outcome if isinstance(outcome, tuple) else (outcome,))]
    if not all(map(math.isfinite, values)):
        what = f"trial {trial.number}: objective is not finite"
        raise NlaError(what, where=trial.params, remedy="narrow the search space")
    assert len(values) == len(sweep.directions), f"{values} for directions {sweep.directions}"
    return values, TrialState.COMPLETE


def _sampler(sweep: Sweep, rank: int) -> optuna.samplers.BaseSampler:
    """The sampler of the `rank`-th setting: the first is given, the others are drawn by seed."""
    tpe = optuna.samplers.TPESampler(
        seed=keyed_seed(sweep.sampler_key or sweep.name, rank) % 2**32,
        n_startup_trials=STARTUP_TRIALS,
    )
    if rank > 0 or not sweep.first:
        return tpe
    with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
        return optuna.samplers.PartialFixedSampler(sweep.first, tpe)


def _fail(study: optuna.Study, trial: optuna.Trial, error: BaseException) -> None:
    """Give the slot back; an interruption by the user does not count as an error of the setting."""
    with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
        if isinstance(error, Exception):
            trial.set_user_attr("error", f"{type(error).__name__}: {error}"[:500])
        study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _slots(study: optuna.Study, sweep: Sweep) -> Slots:
    return Slots(study.get_trials(deepcopy=False), sweep.budget)


def _end(workers: list[subprocess.Popen]) -> None:
    """Interrupt the workers, so that they give their trials back; kill those that do not end."""
    running = [worker for worker in workers if worker.poll() is None]
    for worker in running:
        worker.send_signal(signal.SIGTERM)
    for worker in running:
        try:
            worker.wait(timeout=10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
