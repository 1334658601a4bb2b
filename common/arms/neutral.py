"""One AR for all arms, trained from the target's weights on equally many explanations of each."""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from common.arms.arm import Arm, ArmPlan, Need, NoSettings, Outcome
from common.arms.evaluation import Collected, Evaluation
from common.arms.reconstructor import ReconstructorArm
from common.data.batches import Example, examples_of
from common.errors import NlaError
from common.models.reconstructor import Reconstructor
from common.paths import NEUTRAL
from common.runs import RunFolder
from common.schema import AR_SFT, EXPLANATION, KEY, SPLIT, TEACHER
from common.trunk.artefacts import Trunk


class NeutralAR(Evaluation):
    """An AR that reads what all arms have written; no AV was trained against it."""

    name = NEUTRAL
    sections = ("ar", "trainer", "evaluation", "tuning")

    def places(self, arms: Sequence[Arm]) -> list[Path]:
        """The folder of its run."""
        return [_arm(arms).folder]

    def own_arms(self, arms: Sequence[Arm]) -> list[Arm]:
        """The neutral AR."""
        return [_arm(arms)]

    def run(self, arms: Sequence[Arm]) -> None:
        """Train and test it; NlaError for an arm's run that is missing or outdated."""
        from common.lifecycle.make import make_run

        for arm, seed in _runs(arms):
            _current(arm, seed)
        make_run(_arm(arms), 0)

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Rows for the arms and for floors fitted to the same texts, and curves."""
        neutral = _arm(arms)
        folder = _current(neutral, 0)
        facts = {"missing_floors": folder.summary["missing_floors"]}
        looked = folder.curves_file.exists()
        curves = folder.table(folder.curves_file) if looked else None
        return Collected(folder.table(folder.rows_file), curves=curves, facts=facts)


class NeutralArm(ReconstructorArm):
    """The neutral AR as a run; it is trained on activations on which no AV was optimised."""

    has_samples = False

    def __init__(self, plan: ArmPlan, arms: Sequence[Arm]) -> None:
        """`arms` are the arms whose texts it reads."""
        super().__init__(plan)
        self.arms = list(arms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plan and arms: another process builds it again."""
        return type(self), (self.plan, self.arms)

    def needs(self, seed: int) -> Sequence[Need]:
        """The trunk, and the run of every arm: its weights and what it has written."""
        return [*super().needs(seed), *(_need(arm.run_folder(s)) for arm, s in _runs(self.arms))]

    def tested_with(self) -> dict[str, Any]:
        """Also the embedder, with which floors are fitted."""
        chosen = self.profile.evaluation
        embedder = {"embedder": [chosen.embedder, chosen.embedder_sha256]}
        return super().tested_with() | embedder

    def examples(self, trunk: Trunk, limit: int | None = None) -> list[Example]:
        """The same number of explanations of each arm and of the teacher."""
        written = [(arm.label, _texts(arm.run_folder(seed))) for arm, seed in _runs(self.arms)]
        apart = balanced([(arm, table.filter(pl.col(SPLIT) == AR_SFT)) for arm, table in written])
        taught = trunk.explanations(TEACHER).filter(pl.col(SPLIT) == AR_SFT)
        return [*chain(*apart), *examples_of(taught, len(apart[0]))]

    def test(self, trained: Reconstructor, seed: int) -> Outcome:
        """How it reads the arms' test explanations, with floors, and their dev explanations."""
        from common.evaluation.neutral import Tested, read_dev_texts, read_tests
        from common.evaluation.trunk_floors import fit_floors
        from common.models.sizes import model_sizes
        from common.rollout.reading import reader_of

        trunk, read = self.trunk(seed), reader_of(trained, self.profile)
        floors = fit_floors(trunk, self.examples(trunk))
        tested = [
            Tested(arm.run_folder(s), arm.label, arm.test_set(s), _texts(arm.run_folder(s)))
            for arm, s in _runs(self.arms)
        ]
        facts = model_sizes(trained) | {"missing_floors": floors.missing}
        facts |= {"variance": self.test_set(seed).variances()[0]}
        rows = read_tests(read, tested, floors.readers)
        return Outcome(rows, curves=read_dev_texts(trunk, read, tested), facts=facts)


def balanced(written: Sequence[tuple[str, pl.DataFrame]]) -> list[list[Example]]:
    """The same number of explanations of each arm; arms with the same texts count as one.

    An arm whose AV is not trained writes the same texts in every seed, and so do two such arms.
    """
    arms: dict[str, dict[tuple[str, ...], pl.DataFrame]] = {}
    for arm, table in written:
        arms.setdefault(arm, {})[tuple(table.sort(KEY)[EXPLANATION])] = table
    different = {frozenset(texts): pl.concat(texts.values()) for texts in arms.values()}
    size = min(table.height for table in different.values())
    return [examples_of(table, size) for table in different.values()]


def _arm(arms: Sequence[Arm]) -> NeutralArm:
    """The neutral arm, named after the experiment, on the trunk of the control."""
    plan = arms[0].plan
    activations = {arm.plan.trunk.places.activations for arm in arms}
    if len(activations) > 1:
        what = f"the arms of {plan.experiment} explain different activations"
        raise NlaError(what, remedy="no AR can read them all: leave NeutralAR out")
    return NeutralArm(ArmPlan(NEUTRAL, plan.experiment, NoSettings(), plan.trunk), arms)


def _runs(arms: Iterable[Arm]) -> list[tuple[Arm, int]]:
    return [(arm, seed) for arm in arms for seed in arm.seeds]


def _texts(run: RunFolder) -> pl.DataFrame:
    """What the AV of a run wrote: key, doc_id, split, explanation."""
    return run.table(run.texts_file, [KEY, SPLIT, EXPLANATION])


def _need(run: RunFolder) -> Need:
    return Need("/".join(run.identity[2:]), run.path.parent, lambda: run.said)


def _current(arm: Arm, seed: int) -> RunFolder:
    from common.lifecycle.check import check_current

    return check_current(arm, seed)
