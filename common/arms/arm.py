"""What an arm of an experiment is: something that is trained, kept, loaded and tested.

When that happens is decided by common/lifecycle: seeds, tuning, locks, resume, digests, MLflow
and Optuna are the same for all arms. Methods called `test` or `test_...` are no part of what a run
is trained with: after a change of one, or of what it imports, a finished run is tested again but
not trained again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import polars as pl

from common.config import TrainingConfig
from common.config_base import Config
from common.errors import NlaError
from common.params import SearchSpace
from common.paths import run_folder
from common.profile import Profile
from common.runs import RunFolder
from common.schema import View, nothing
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice

REPORT_ONLY = {"resamples", "embedder", "embedder_sha256", "neutral_readers"}
"""Keys of `evaluation` that only reports and floors read: a change of them tests no run again."""


class Outcome(NamedTuple):
    """The result of testing a run; every part may be missing."""

    rows: pl.DataFrame | None = None
    """Reconstructions: key, doc_id, source, transform, applied, squared_error, cosine, ..."""
    measures: pl.DataFrame | None = None
    """Any measure of any item: key, cluster (what the bootstrap draws), measure, value."""
    texts: pl.DataFrame | None = None
    """Explanations that the arm itself has written: key, doc_id, split, explanation."""
    curves: pl.DataFrame | None = None
    """Curves over a training that only a test can compute: step, metric, value."""
    facts: Mapping[str, Any] = {}
    """Further entries of summary.json."""


class Need(NamedTuple):
    """An artefact, or a run of another arm, that an arm is made from."""

    name: str
    place: Path
    """The file or folder that the arm's DVC stage depends on."""
    digest: Callable[[], str]
    """Digest of its content; NlaError when it is missing."""


class NoSettings(Config):
    """Settings of arms that have none."""


@dataclass(frozen=True)
class ArmPlan:
    """What params.yaml and the profile say of an arm."""

    experiment: str
    name: str
    settings: Config
    trunk: TrunkChoice
    seeds: tuple[int, ...] = (0,)
    """The training seeds under which it is compared with other arms."""
    search: SearchSpace = field(default_factory=dict)
    """What its study searches, around the profile's setting."""
    label: str = ""
    """Its name in an experiment that has taken it over; empty: `name`."""


class Arm:
    """One arm at one profile."""

    settings_class: ClassVar[type[Config]] = NoSettings
    """Class of the arm's own settings in params.yaml."""
    tuned_section: ClassVar[str] = ""
    """The part of the profile that `tuned` is made from: `ar`, `av`, `rl`; empty: none."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Other parts of the profile that training reads."""
    tested_sections: ClassVar[tuple[str, ...]] = ("evaluation", "rollout", "trainer")
    """Parts of the profile that the test reads."""
    data: ClassVar[tuple[str, ...]] = ()
    """Artefacts of the trunk that training or test reads, by name."""
    tested_data: ClassVar[tuple[str, ...]] = ()
    """Artefacts of the trunk that the test alone reads; a change trains nothing again."""
    curves: ClassVar[tuple[str, ...]] = ("train_loss", "dev_fve")
    """Metrics that a report draws."""
    objective: ClassVar[str] = "dev_fve"
    """The fact of a training run that tuning maximises."""

    compared: ClassVar[bool] = True
    """Whether it is an arm of results and reports; if not, other arms are made from its runs."""
    has_test: ClassVar[bool] = True
    """Whether its test measures anything; if not, its run does not depend on code of the test."""
    has_samples: ClassVar[bool] = False
    """Whether explanations of the test activations are shown in samples.jsonl."""

    def __init__(self, plan: ArmPlan) -> None:
        """Nothing is read yet."""
        self.plan, self.settings = plan, plan.settings
        self.profile: Profile = plan.trunk.profile
        self._trunks: dict[int, Trunk] = {}
        self._test_sets: dict[int, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its plan: another process builds the arm again."""
        return type(self), (self.plan,)

    @property
    def name(self) -> str:
        """Its name within its experiment."""
        return self.plan.name

    @property
    def label(self) -> str:
        """Its name in results and reports."""
        return self.plan.label or self.plan.name

    @property
    def tuned(self) -> TrainingConfig | None:
        """The settings whose numbers a study may search; None where nothing is trained."""
        return None

    @property
    def learns(self) -> bool:
        """Whether a run trains anything; if not, a training seed changes nothing."""
        return self.tuned is not None

    @property
    def paired_seeds(self) -> tuple[int, ...]:
        """The training seeds under which it is compared with other arms."""
        return self.plan.seeds

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its final runs: all, or, where nothing is trained, one for each pair.

        That run stands for the other seeds of the pair. An arm that reads no pair runs one seed.
        """
        if self.learns:
            return self.paired_seeds
        if not self.data:
            return self.paired_seeds[:1]
        return tuple(sorted(self.first_seeds.values()))

    @property
    def first_seeds(self) -> dict[int, int]:
        """{pair: the first of the seeds that start from it}."""
        return {self.pair_of(seed): seed for seed in reversed(self.paired_seeds)}

    def pair_of(self, seed: int) -> int:
        """Which warm-started pair a run starts from; trials, whose seed is -1, use the first."""
        return max(seed, 0) % self.profile.warm_starts

    def trunk(self, seed: int) -> Trunk:
        """The artefacts that runs of a seed are made from."""
        pair = self.pair_of(seed)
        return self._trunks.setdefault(pair, Trunk(self.plan.trunk, pair))

    def run_folder(self, seed: int | str) -> RunFolder:
        """The run of a seed, or of a trial."""
        plan = self.plan
        return RunFolder(run_folder(self.profile.name, plan.experiment, plan.name, seed))

    @property
    def folder(self) -> Path:
        """The folder of all its runs."""
        return self.run_folder(0).path.parent

    @classmethod
    def profile_keys(cls) -> list[str]:
        """All parts of the profile that a run depends on, for its DVC stage."""
        tuned = [cls.tuned_section, "tuning"] if cls.tuned_section else ["tuning.seeds"]
        paraphraser = ["teacher"] if "evaluation" in cls.tested_sections else []
        parts = [*tuned, *cls.sections, *cls.tested_sections, *paraphraser, "warm_starts"]
        return list(dict.fromkeys(parts))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose import closure is the code that a run depends on."""
        return tuple(dict.fromkeys([type(self).__module__, *_experiment_module(self.plan)]))

    def needs(self, seed: int) -> Sequence[Need]:
        """What a run is trained with: here the artefacts named by `data`."""
        return self._artefacts(self.data, seed)

    def tested_needs(self) -> Sequence[Need]:
        """What the test alone reads: here the artefacts named by `tested_data`, equal for pairs."""
        return self._artefacts(self.tested_data, seed=0)

    def _artefacts(self, names: Sequence[str], seed: int) -> list[Need]:
        trunk = self.trunk(seed)

        def digest(name: str) -> Callable[[], str]:
            return lambda: trunk.digests([name])[name]

        return [Need(name, trunk.places.of(name), digest(name)) for name in names]

    def trained_with(self, seed: int) -> dict[str, Any]:
        """Settings and data that a training run depends on, except values that tuning chooses."""
        return {
            "arm": self.settings.decisive(),
            "tuned": self.tuned.decisive() if self.tuned else None,
            "data": {need.name: need.digest() for need in self.needs(seed)},
        } | {name: getattr(self.profile, name).decisive() for name in self.sections}

    def tested_with(self) -> dict[str, Any]:
        """Settings that only the test depends on."""
        sections = {name: getattr(self.profile, name).decisive() for name in self.tested_sections}
        if needs := self.tested_needs():
            sections["tested_data"] = {need.name: need.digest() for need in needs}
        if "evaluation" in sections:
            for name in REPORT_ONLY:
                del sections["evaluation"][name]
            if self.profile.evaluation.paraphrase == "api":
                teacher = self.profile.teacher
                sections["paraphraser"] = [teacher.model, teacher.base_url, teacher.temperature]
        return sections

    @property
    def global_batch_sizes(self) -> dict[str, int]:
        """{setting: size} of the batches that are divided among several processes."""
        return {}

    def train(self, run: Any, config: Any, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """Train one run; returns what `save` gets, and the facts of trained.json.

        Args:
            run: logs metrics, a common.tracking.tracker.Tracker.
            config: `tuned` with the values that tuning has chosen.
            seed: training seed of the run.
            trial: Optuna's trial, for a shorter run that may be pruned.
        """
        return None, {}

    def save(self, trained: Any, run: RunFolder) -> None:
        """Write the checkpoint."""

    def load(self, run: RunFolder) -> Any:
        """What `test` gets, from the checkpoint; NlaError when it does not match the trunk now."""
        return None

    def test(self, trained: Any, seed: int) -> Outcome:
        """Measure a trained run on the test documents."""
        return Outcome()

    def test_set(self, seed: int) -> Any:
        """The test set of the runs of a seed; those of one pair share it."""
        from common.evaluation.test_set import TestSet

        return self._test_sets.setdefault(self.pair_of(seed), TestSet(self.trunk(seed)))

    def test_conditions(self, tests: Any, texts: list[str]) -> Any:
        """What an AR is given for each text: the text unchanged, swapped, transformed, cut."""
        return tests.conditions_of(texts)

    def test_sees(self, seed: int) -> View:
        """What the AR of `test_pair` may see of an input, beside the explanation."""
        return nothing

    def test_pair(self, run: RunFolder) -> tuple[Any, Any]:
        """AV and AR of a finished run, which belong together; NlaError where it has none."""
        what = f"arm {self.name} of {self.plan.experiment} trains neither AV nor AR"
        raise NlaError(what, where=run.path, remedy="name a run of another experiment")


def _experiment_module(plan: ArmPlan) -> list[str]:
    file = Path(__file__).resolve().parents[2] / "experiments" / plan.experiment / "experiment.py"
    return [f"experiments.{plan.experiment}.experiment"] if file.exists() else []
