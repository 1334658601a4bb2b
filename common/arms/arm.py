"""What all arms share: tuning on dev documents, runs with fresh seeds, resume, and their checks."""

import json
import logging
import shutil
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import optuna
from optuna.trial import BaseTrial

from common.allocator import free_finished_runs
from common.config import TrainingConfig
from common.device import device_name
from common.errors import NlaError
from common.experiment import Experiment
from common.manifest import digest_of
from common.material import Material
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.params import SearchSpace
from common.paths import OPTUNA_URI, run_folder
from common.processes import check_shares, everywhere
from common.profile import Profile
from common.provenance import code_digest
from common.runs import RunFolder
from common.tracking.tracker import Tracker, log_sweep, tracked_run
from common.tuning.study import Best, Sweep, known_best, trials_table
from common.tuning.sweep import run_sweep
from common.tuning.trials import slot_of

log = logging.getLogger(__name__)

CODE = (
    "ar_variants",
    "common/arms",
    "common/config.py",
    "common/data",
    "common/evaluation",
    "common/material.py",
    "common/metrics",
    "common/models",
    "common/rollout",
    "common/seeding.py",
    "common/target",
    "common/training",
    "common/tuning",
    "common/warm_start.py",
    "decomposition",
)
"""What a run of an arm depends on, as its DVC stage says too."""
NOT_OF_RUNS = {"resamples", "embedder", "embedder_sha256"}
"""Keys of `evaluation` that only reports and floors read: no run is made again for them."""
NOTHING_TUNED = Best({}, (), 0, 0)
TRIAL_SEED = -1
"""Of every trial, so that no seed of the test has been tuned."""


class Arm:
    """One arm of an experiment at one profile; subclasses train and test a kind of model."""

    curves: ClassVar[tuple[str, ...]] = ("train_loss", "dev_fve")
    """Metrics that a report draws."""
    has_own_texts: ClassVar[bool] = False
    """Whether each run writes explanations of its own, which a neutral AR reads too."""

    def __init__(
        self, experiment: Experiment, name: str, profile: Profile, material: Material
    ) -> None:
        """Validates the arm's settings; trains nothing."""
        self.experiment, self.name, self.profile, self.material = (
            experiment,
            name,
            profile,
            material,
        )
        self.settings = experiment.arm(name)
        check_shares(profile, **self.shared_out)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: made anew there."""
        return type(self), (self.experiment, self.name, self.profile, self.material)

    @property
    def words(self) -> str:
        """What names this arm after `nla run` and `nla sweep`."""
        return f"{self.experiment.name} --arm {self.name} --profile {self.profile.name}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its final runs: one where nothing learns, which stands for all of `paired_seeds`."""
        return self.paired_seeds if self.learns else self.paired_seeds[:1]

    @property
    def paired_seeds(self) -> tuple[int, ...]:
        """Under which it is compared with other arms."""
        return self.experiment.seeds_of(self.name, self.profile)

    @property
    def learns(self) -> bool:
        """Whether a run trains anything; if not, a training seed changes nothing."""
        return True

    def sweep(self) -> Sweep:
        """This arm's study; its name changes with everything a trial depends on."""
        tuning, space = self.profile.tuning, self._space()
        digest = digest_of([self.base_config(), space, tuning.examples])
        return Sweep(
            name=f"{self.profile.name}/{self.experiment.name}/{self.name}/{digest}",
            space=space,
            budget=tuning.trials,
            config_digest=digest,
            first={name: getattr(self.tuned, name) for name in space},
            sampler_key=f"{self.profile.name}/{self.experiment.name}",
            storage=tuning.storage or OPTUNA_URI,
        )

    @property
    def tuned(self) -> TrainingConfig:
        """The settings whose numbers the study searches, as the profile has them."""
        raise NotImplementedError

    @property
    def shared_out(self) -> dict[str, int]:
        """Sizes of batches that several processes divide among them."""
        return {"ar.batch_size": self.profile.ar.batch_size}

    def train(
        self,
        tracker: Tracker,
        config: Any,
        seed: int,
        trial: BaseTrial | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Train one run: what `finish` gets, and the facts of its summary."""
        raise NotImplementedError

    def finish(self, trained: Any, folder: RunFolder, seed: int) -> dict[str, Any]:
        """Save the checkpoint, test, write rows and samples; further facts of the summary."""
        raise NotImplementedError

    def load(self, folder: RunFolder) -> tuple[Verbalizer, Reconstructor]:
        """AV and AR of a finished run; NlaError when they do not match today's trunk."""
        raise NotImplementedError

    def base_config(self) -> dict[str, Any]:
        """What every run of the arm has in common: settings, scale, data and code."""
        return {
            "arm": self.settings.model_dump(mode="json"),
            "tuned": self.tuned.model_dump(mode="json"),
            "trainer": self.profile.trainer.model_dump(mode="json"),
            "evaluation": self.profile.evaluation.model_dump(mode="json", exclude=NOT_OF_RUNS),
            "material": self.material.digests(),
            "code": code_digest(*CODE, *map(str, self.experiment.code)),
        } | self._paraphraser()

    def _paraphraser(self) -> dict[str, Any]:
        if self.profile.evaluation.paraphrase == "offline":
            return {}
        teacher = self.profile.teacher
        return {"paraphraser": [teacher.model, teacher.base_url, teacher.temperature]}

    def tune(self) -> Best:
        """Spend the arm's budget (shared with any other worker), or find it spent.

        An experiment that searches nothing runs the profile's own setting.
        """
        if not self.experiment.params.search:
            return NOTHING_TUNED
        sweep = self.sweep()
        best = run_sweep(sweep, self._trial)
        facts = {"trials": best.trials, "best_trial": best.number, "best_dev_fve": best.values[0]}
        facts |= {f"best_{name}": value for name, value in best.params.items()}
        trials = trials_table(sweep.name, sweep.storage)
        log_sweep(self.experiment.name, self._parent, facts, trials.write_csv())
        return best

    def has_finished(self, seeds: Sequence[int]) -> bool:
        """Whether the budget is spent and these runs are made: then nothing heavy is imported."""
        best = self._spent()
        if best is None or not all(self._is_made(seed, best) for seed in seeds):
            return False
        for seed in seeds:
            log.info("%s is finished already", self.run_folder(seed).path)
        return True

    def run_seed(self, seed: int, best: Best) -> RunFolder:
        """Train the best setting and test it; a finished run of this config is left alone."""
        folder = self.run_folder(seed)
        with folder.locked():
            if self._is_made(seed, best):
                log.info("%s is finished already", folder.path)
            else:
                self._run(folder, self._config_of_run(seed, best), seed, best)
        return folder

    def _spent(self) -> Best | None:
        """The best trial of a study whose budget is spent, or of one that needs none."""
        if not self.experiment.params.search:
            return NOTHING_TUNED
        sweep = self.sweep()
        best = known_best(sweep)
        return best if best and best.trials >= sweep.budget else None

    def _is_made(self, seed: int, best: Best) -> bool:
        folder = self.run_folder(seed)
        return folder.is_finished(self._config_of_run(seed, best))

    def _config_of_run(self, seed: int, best: Best) -> dict[str, Any]:
        return {
            **self.base_config(),
            "tuned": self._config(best.params).model_dump(mode="json"),
            "study": self.sweep().name,
            "seed": seed,
        }

    def run_folder(self, seed: int | str) -> RunFolder:
        """The run of a seed, or of a trial."""
        return RunFolder(run_folder(self.profile.name, self.experiment.name, self.name, seed))

    def _run(self, folder: RunFolder, config: dict[str, Any], seed: int, best: Best) -> None:
        free_finished_runs()
        folder.begin(config)
        with tracked_run(folder, self._parent, {"nla.kind": "seed"}) as tracker:
            chosen = self._config(best.params)
            trained, fitted = everywhere(self.profile, self.train, tracker, chosen, seed)
            started = time.perf_counter()
            tested = self.finish(trained, folder, seed)
            fitted["evaluate_seconds"] = round(time.perf_counter() - started, 2)
            folder.finish(
                {
                    "learning_rate": chosen.learning_rate,
                    "ar_learning_rate": None,
                    "weight_decay": chosen.weight_decay,
                    **best.params,
                    **fitted,
                    **tested,
                    "device": device_name(),
                }
            )
        shutil.rmtree(folder.path / "resume", ignore_errors=True)

    def check(self, folder: RunFolder) -> None:
        """NlaError for a run made with other settings, data or code, or not the study's best."""
        remedy = f"nla run {self.words}"
        if not folder.config_file.exists():
            raise NlaError("this run has not been made", where=folder.path, remedy=remedy)
        expected = json.loads(json.dumps(self.base_config(), default=str))
        sweep, found = self.sweep(), folder.config
        expected["study"] = sweep.name
        best = known_best(sweep) if sweep.space else None
        for name in sweep.space:
            chosen = best.params if best else found.get("tuned", {})
            expected["tuned"][name] = chosen.get(name)
        if changed := [name for name, value in expected.items() if found.get(name) != value]:
            what = f"a run of other {', '.join(changed)} than today's"
            raise NlaError(what, where=folder.path, remedy=remedy)
        if not folder.summary_file.exists():
            raise NlaError("unfinished run", where=folder.path, remedy=remedy)
        folder.check_whole()

    def _space(self) -> SearchSpace:
        """The experiment's search space in absolute numbers, around the profile's own setting."""
        space = {}
        for name, number in self.experiment.params.search.items():
            try:
                space[name] = number.around(getattr(self.tuned, name))
            except (ValueError, AttributeError) as error:
                where = self.experiment.folder / "params.yaml"
                remedy = f"change {name} in profile {self.profile.name}, or the range"
                raise NlaError(f"search.{name}: {error}", where=where, remedy=remedy) from error
        return space

    @property
    def _parent(self) -> str:
        return f"{self.profile.name}/{self.experiment.name}/{self.name}"

    def _config(self, params: dict[str, float]) -> TrainingConfig:
        return self.tuned.replace(**params)

    def _trial(self, trial: optuna.Trial, params: dict[str, float]) -> float:
        free_finished_runs()
        name = f"trial-{slot_of(trial)}"
        folder = self.run_folder(name)
        folder.begin({**self.base_config(), "params": params})
        with tracked_run(folder, self._parent, {"nla.kind": "trial"}) as tracker:
            task = (tracker, self._config(params), TRIAL_SEED)
            others = (*task, optuna.trial.FixedTrial(params))  # Optuna hears of the leader alone
            _, fitted = everywhere(self.profile, self.train, *task, trial, others=others)
            folder.finish({**fitted, **params})
        return fitted["dev_fve"]
