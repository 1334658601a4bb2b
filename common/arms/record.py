"""What the run of an arm leaves behind besides its metrics."""

import json

import polars as pl
import torch

from common.evaluation.conditions import ORIGINAL
from common.files import write_atomically
from common.runs import RunFolder
from common.schema import AV, KEY, TEACHER, TEXT

OWN_TEXTS = "spoken.parquet"
"""Beside a run's rows: key, doc_id, split and explanation, of test and some ar_sft documents."""
SAMPLES, SOURCE_CHARACTERS = 20, 240


def write_rows(folder: RunFolder, rows: pl.DataFrame, table: pl.DataFrame) -> None:
    """rows.parquet, and samples.jsonl for human eyes."""
    write_atomically(rows, folder.rows_file)
    lines = samples(rows, table).to_dicts()
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    folder.samples_file.write_text(text, encoding="utf-8")


def samples(rows: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Some test activations: the end of the text, both explanations, and the cosine of each."""
    shown = table.head(SAMPLES).select(KEY, pl.col(TEXT).str.tail(SOURCE_CHARACTERS), TEACHER, AV)
    for source in (TEACHER, AV):
        original = rows.filter((pl.col("transform") == ORIGINAL) & (pl.col("source") == source))
        cosine = original.select(KEY, pl.col("cosine").alias(f"cosine_{source}"))
        shown = shown.join(cosine, on=KEY, how="left", maintain_order="left")
    return shown


def model_sizes(model: torch.nn.Module) -> dict[str, int]:
    """How many parameters a model has, and how many were trained."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
