"""How a neutral AR reads the texts of several arms, beside floors fitted to the same texts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from common.evaluation.conditions import ORIGINAL, SHUFFLED, SOURCE_TEXT, Conditions, shuffled
from common.evaluation.spoken import texts_of_test
from common.evaluation.test_set import TestSet
from common.evaluation.trunk_floors import ceiling
from common.metrics.fve import squared_errors
from common.params import CONTROL
from common.runs import LOOKS, RunFolder
from common.schema import (
    AV,
    AV_NEUTRAL_AR,
    AV_UNTRAINED_AR,
    DOC_ID,
    EXPLANATION,
    KEY,
    TEACHER,
    Reader,
    readings_of,
)
from common.trunk.artefacts import Trunk

METRIC = "dev_fve_neutral_ar"


class Tested(NamedTuple):
    """A finished run, its test set, and all texts that it has written."""

    run: RunFolder
    arm: str
    tests: TestSet
    written: pl.DataFrame

    @property
    def texts(self) -> list[str]:
        """Its explanations of the test activations."""
        return texts_of_test(self.tests, self.written)

    @property
    def is_control(self) -> bool:
        """Whether floors are computed beside it."""
        return self.arm == CONTROL

    @property
    def named(self) -> list[pl.Expr]:
        """The columns arm and seed."""
        seed = self.run.seed
        return [pl.lit(self.arm).alias("arm"), pl.lit(seed, pl.Int64).alias("seed")]


def read_tests(
    read: Reader, tested: Sequence[Tested], floors: Mapping[str, Reader]
) -> pl.DataFrame:
    """Rows of every run's test explanations, and of the floors beside the control's."""
    frames = [
        one.tests.judge.rows(read, _conditions(one), AV_NEUTRAL_AR).with_columns(*one.named)
        for one in tested
    ]
    beside = [frame for one in tested if one.is_control for frame in _floors(one, floors)]
    return pl.concat([*frames, *beside])


def read_dev_texts(trunk: Trunk, read: Reader, tested: Sequence[Tested]) -> pl.DataFrame | None:
    """FVE of each AV's explanations of the dev activations, at every validation of its training.

    None where no arm has such texts, as where AVs are trained by supervision.
    """
    looks = [
        one.run.table(file, [KEY, EXPLANATION]).with_columns(
            # As in metrics.jsonl: the number of the last step made.
            *one.named,
            pl.lit(max(0, int(file.stem) - 1), pl.Int64).alias("step"),
        )
        for one in tested
        for file in sorted(one.run.dev_texts.glob(LOOKS))
    ]
    if not looks:
        return None
    looks = pl.concat(looks)
    keys = looks[KEY].to_list()
    errors = squared_errors(read(readings_of(looks[EXPLANATION].to_list())), trunk.store[keys])
    variance = trunk.variance_of(sorted(set(keys)))
    means = (
        looks.with_columns(value=1 - pl.Series(errors.double().tolist()) / variance)
        .group_by("arm", "seed", "step", maintain_order=True)
        .agg(pl.col("value").mean())
    )
    return means.with_columns(metric=pl.lit(METRIC))


def _conditions(one: Tested) -> Conditions:
    """The texts unchanged and swapped; beside the control also the source text, equal for all."""
    texts = one.texts
    swapped = shuffled(texts, one.tests.table[DOC_ID].to_list())
    found: Conditions = {ORIGINAL: [*texts], SHUFFLED: swapped}
    if one.is_control:
        found[SOURCE_TEXT] = [*one.tests.source_texts]
    return found


def _floors(one: Tested, readers: Mapping[str, Reader]) -> list[pl.DataFrame]:
    """Rows of readers that are no language models, on the control's texts and the teacher's.

    They are fitted to the training texts of the neutral AR. The target's own blocks are the
    ceiling.
    """
    taught, written = one.tests.table[TEACHER].to_list(), one.texts
    asked = {AV: written, AV_NEUTRAL_AR: written, AV_UNTRAINED_AR: written, TEACHER: taught}
    seed = one.named[1]
    frames = [
        one.tests.judge.rows(read, {ORIGINAL: [*wanted]}, source).with_columns(
            pl.lit(name).alias("arm"), seed
        )
        for source, wanted in asked.items()
        for name, read in readers.items()
    ]
    return [*frames, ceiling(one.tests, list(asked)).with_columns(seed)]
