"""How a neutral AR reads the texts of several arms, beside references fitted to the same texts."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from common.evaluation.conditions import ORIGINAL, SHUFFLED, SOURCE_TEXT, Conditions, shuffled
from common.evaluation.references import read_references
from common.evaluation.test_set import TestSet, Texts
from common.evaluation.trunk_floors import References, reference_rows
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
SAME_ROW = ("arm", "seed", KEY, DOC_ID, "source", "transform")
RANK = "retrieval_rank"


class Tested(NamedTuple):
    """A finished run, its test set, and all texts that it has written."""

    run: RunFolder
    arm: str
    tests: TestSet
    written: pl.DataFrame

    @property
    def texts(self) -> Texts:
        """Its explanations of the test and the dev activations."""
        return self.tests.written_in(self.written)

    @property
    def is_control(self) -> bool:
        """Whether references are computed beside it."""
        return self.arm == CONTROL

    @property
    def named(self) -> list[pl.Expr]:
        """The columns arm and seed."""
        return [pl.lit(self.arm).alias("arm"), self.of_seed]

    @property
    def of_seed(self) -> pl.Expr:
        """The column seed."""
        return pl.lit(self.run.seed, pl.Int64).alias("seed")


def read_tests(
    read: Reader, tested: Sequence[Tested], references: References | None
) -> pl.DataFrame:
    """Rows of every run's test explanations, and of reference texts beside the control's.

    `references`, which no neutral AR reads, are needed beside one neutral AR of several.
    """
    frames = [
        one.tests.judge.rows(read, _conditions(one), AV_NEUTRAL_AR, dev=one.texts.dev).with_columns(
            *one.named
        )
        for one in tested
    ]
    for one in tested:
        if one.is_control:
            rows = read_references(one.tests, read)
            arm = {"arm": pl.col("source"), "source": pl.lit(AV_NEUTRAL_AR)}
            frames.append(rows.with_columns(**arm).with_columns(one.of_seed))
            if references:
                frames.append(_references(one, references))
    return pl.concat(frames, how="diagonal")


def mean_reader(readers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One table of those of several neutral ARs: means of the errors, and each reader's own.

    The rows of each are kept for unchanged explanations only, under `av_neutral_ar_<n>`. A rank is
    that of the middle reader, of two the worse. References, which no neutral AR reads, stand in one
    table, and stay as they are.
    """
    read_by_all = set.intersection(*({*rows["arm"]} for rows in readers))
    together = pl.concat(readers)
    numbers = [name for name in together.columns if name not in (*SAME_ROW, "applied", RANK)]
    means = together.group_by(*SAME_ROW, maintain_order=True).agg(
        pl.col("applied").first(),
        pl.col(numbers).mean(),
        pl.col(RANK).quantile(0.5, "higher").cast(pl.Int64),
    )
    each = [
        rows.filter(
            pl.col("arm").is_in(read_by_all), source=AV_NEUTRAL_AR, transform=ORIGINAL
        ).with_columns(source=pl.lit(f"{AV_NEUTRAL_AR}_{number}"))
        for number, rows in enumerate(readers)
    ]
    return pl.concat([means.select(together.columns), *each])


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
    texts = one.texts.test
    swapped = shuffled(texts, one.tests.table[DOC_ID].to_list())
    found: Conditions = {ORIGINAL: [*texts], SHUFFLED: swapped}
    if one.is_control:
        found[SOURCE_TEXT] = [*one.tests.source_texts]
    return found


def _references(one: Tested, references: References) -> pl.DataFrame:
    """Rows of readers that are no language models, on the control's texts and the teacher's.

    They are fitted to the training texts of the neutral ARs.
    """
    taught, written = one.tests.written_by(TEACHER), one.texts
    asked = {AV: written, AV_NEUTRAL_AR: written, AV_UNTRAINED_AR: written, TEACHER: taught}
    return reference_rows(one.tests, references, asked).with_columns(one.of_seed)
