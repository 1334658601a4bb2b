"""What to look at before believing a number: samples.jsonl of a run."""

import json

import polars as pl

from common.arms.arm import Outcome
from common.evaluation.conditions import ORIGINAL
from common.runs import RunFolder
from common.schema import AV, EXPLANATION, KEY, TEACHER, TEXT

SAMPLES, SOURCE_CHARACTERS = 20, 240


def write_samples(folder: RunFolder, table: pl.DataFrame, outcome: Outcome) -> None:
    """Write some test activations: the text's end, explanations, and how well each is read."""
    lines = samples(table, outcome).to_dicts()
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    folder.samples_file.write_text(text, encoding="utf-8")


def samples(table: pl.DataFrame, outcome: Outcome) -> pl.DataFrame:
    """A row for each: key, end of the text, the teacher's and the AV's texts, their cosines.

    The AV is the arm's own where it has written texts, else that of the warm start.
    """
    if outcome.texts is not None:
        own = outcome.texts.select(KEY, pl.col(EXPLANATION).alias(AV))
        table = table.drop(AV).join(own, on=KEY, how="left", maintain_order="left")
    shown = table.head(SAMPLES).select(KEY, pl.col(TEXT).str.tail(SOURCE_CHARACTERS), TEACHER, AV)
    if outcome.rows is None:
        return shown
    for source in (TEACHER, AV):
        original = outcome.rows.filter(source=source, transform=ORIGINAL)
        cosine = original.select(KEY, pl.col("cosine").alias(f"cosine_{source}"))
        shown = shown.join(cosine, on=KEY, how="left", maintain_order="left")
    return shown
