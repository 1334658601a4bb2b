"""ARs for all arms, trained from the target's weights on equally many explanations of each."""

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
    """ARs that read what all arms have written; no AV was trained against them.

    Several, which differ in the order of their examples: what only one reader sees is no finding.
    """

    name = NEUTRAL
    sections = ("ar", "trainer", "evaluation", "tuning")

    def places(self, arms: Sequence[Arm]) -> list[Path]:
        """The folder of their runs."""
        return [_arm(arms).folder]

    def own_arms(self, arms: Sequence[Arm]) -> list[Arm]:
        """The arm whose seeds are the neutral ARs."""
        return [_arm(arms)]

    def run(self, arms: Sequence[Arm]) -> None:
        """Train and test them; NlaError for an arm's run that is missing or outdated."""
        from common.lifecycle.make import make_run

        for arm, seed in _runs(arms):
            _current(arm, seed)
        neutral = _arm(arms)
        for seed in neutral.seeds:
            make_run(neutral, seed)

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Means over the neutral ARs for the arms, floors fitted to the same texts, and curves.

        Curves are those of the first neutral AR.
        """
        from common.evaluation.neutral import mean_reader

        neutral = _arm(arms)
        folders = [_current(neutral, seed) for seed in neutral.seeds]
        first = folders[0]
        facts = {
            "missing_floors": first.summary["missing_floors"],
            "neutral_readers": len(folders),
        }
        looked = first.curves_file.exists()
        curves = first.table(first.curves_file) if looked else None
        rows = mean_reader([folder.table(folder.rows_file) for folder in folders])
        return Collected(rows, curves=curves, facts=facts)


class NeutralArm(ReconstructorArm):
    """The neutral ARs as runs; they are trained on activations on which no AV was optimised."""

    has_samples = False

    def __init__(self, plan: ArmPlan, arms: Sequence[Arm]) -> None:
        """`arms` are the arms whose texts it reads."""
        super().__init__(plan)
        self.arms = list(arms)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as plan and arms: another process builds it again."""
        return type(self), (self.plan, self.arms)

    def pair_of(self, seed: int) -> int:
        """All read what the arms of all pairs have written, and the first pair's dev texts."""
        return 0

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
        """How it reads the arms' test explanations, and their dev explanations.

        Floors, and the dev explanations of all validations, are left to the first.
        """
        from common.evaluation.neutral import Tested, read_dev_texts, read_tests
        from common.evaluation.trunk_floors import fit_references
        from common.models.sizes import model_sizes
        from common.rollout.reading import reader_of

        trunk, read = self.trunk(seed), reader_of(trained, self.profile)
        tests, first = self.test_set(seed), seed == self.seeds[0]
        references = fit_references(tests, self.examples(trunk)) if first else None
        tested = [
            Tested(arm.run_folder(s), arm.label, arm.test_set(s), _texts(arm.run_folder(s)))
            for arm, s in _runs(self.arms)
        ]
        facts = model_sizes(trained) | tests.denominators
        facts |= {"missing_floors": references.missing} if references else {}
        rows = read_tests(read, tested, references)
        curves = read_dev_texts(trunk, read, tested) if first else None
        return Outcome(rows, curves=curves, facts=facts)


def balanced(written: Sequence[tuple[str, pl.DataFrame]]) -> list[list[Example]]:
    """The same number of explanations of each arm; arms with the same texts count as one.

    An arm whose AV is not trained writes the same texts in every seed, and so do two such arms. One
    that has run fewer seeds, and wrote nothing of its own, does not count beside the other.
    """
    arms: dict[str, dict[tuple[str, ...], pl.DataFrame]] = {}
    for arm, table in written:
        arms.setdefault(arm, {})[tuple(table.sort(KEY)[EXPLANATION])] = table
    different = {frozenset(texts): pl.concat(texts.values()) for texts in arms.values()}
    different = {own: t for own, t in different.items() if not any(own < x for x in different)}
    size = min(table.height for table in different.values())
    return [examples_of(table, size) for table in different.values()]


def _arm(arms: Sequence[Arm]) -> NeutralArm:
    """The neutral arm, named after the experiment, on the trunk of the control.

    Its seeds are the neutral ARs. Arms that are taken over belong to another experiment.
    """
    plan = next((arm for arm in arms if not arm.plan.label), arms[0]).plan
    activations = {arm.plan.trunk.places.activations for arm in arms}
    if len(activations) > 1:
        what = f"the arms of {plan.experiment} explain different activations"
        raise NlaError(what, remedy="no AR can read them all: leave NeutralAR out")
    seeds = tuple(range(plan.trunk.profile.evaluation.neutral_readers))
    return NeutralArm(ArmPlan(NEUTRAL, plan.experiment, NoSettings(), plan.trunk, seeds), arms)


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
