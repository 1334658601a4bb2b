"""The teacher's table: one warm-start explanation per activation, written offline or by an API."""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import polars as pl

from common.config import TeacherConfig
from common.data import teacher_api
from common.data.offline_teacher import compose
from common.errors import NlaError, first_line
from common.manifest import write_artefact
from common.paths import TrunkPlaces
from common.schema import (
    DESCRIPTION,
    DOC_ID,
    EXPLANATION,
    KEY,
    NEXT_PROBS,
    NEXT_TOKENS,
    POSITION,
    SPLIT,
    TEXT,
    TITLE,
    TOKEN_IDS,
    TOPIC,
)

COLUMNS = (KEY, DOC_ID, SPLIT, POSITION, EXPLANATION)
SOURCES = (KEY, DOC_ID, SPLIT, POSITION, TOKEN_IDS, TEXT, NEXT_TOKENS, NEXT_PROBS)
"""Columns of the activations that a teacher reads; it never reads the vectors."""


def write_explanations(
    activations: pl.DataFrame | pl.LazyFrame,
    corpus: pl.DataFrame,
    tokenizer: Any,
    places: TrunkPlaces,
    config: TeacherConfig,
    provenance: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the trunk's explanations (columns `COLUMNS`, in the order of the activations).

    An activation that the teacher could not explain has no row; the manifest counts them as
    `failed` and keeps `provenance` (tokenizer, source digests). Raises NlaError when an activation
    belongs to no document of the corpus or nothing could be explained.
    """
    rows, out = joined_rows(activations, corpus), places.explanations
    if config.kind == "offline":
        write = format_of(config, places)
        explanations = [write(row, tokenizer) for row in rows]
    else:
        explanations = teacher_api.explain_by_api(rows, config, out.parent / "teacher_cache")
    kept = [
        row | {EXPLANATION: explanation}
        for row, explanation in zip(rows, explanations, strict=True)
        if explanation
    ]
    if not kept:
        what = f"none of {len(rows)} activations could be explained"
        raise NlaError(what, where=config.kind, remedy="look at the activations and the teacher")
    out.parent.mkdir(parents=True, exist_ok=True)
    write_artefact(
        pl.DataFrame(kept, schema_overrides={POSITION: pl.Int64}).select(COLUMNS),
        out,
        kind="explanations",
        config=config.digest(),
        teacher=config.name,
        rows=len(kept),
        failed=len(rows) - len(kept),
        **provenance,
    )


def format_of(
    config: TeacherConfig, places: TrunkPlaces
) -> Callable[[Mapping[str, Any], Any], str]:
    """The function that writes for the offline teacher, given a row and the tokenizer.

    A class is called once, with the trunk's places, to make it: for a format that needs the
    target's weights, or all documents. NlaError when `format` names neither.
    """
    if not config.format:
        return compose
    module, _, name = config.format.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        remedy = "let it be <module>:<function>, such as experiments.mine.formats:fields"
        what = f"teacher.format {config.format!r}: {first_line(error)}"
        raise NlaError(what, where="profile", remedy=remedy) from error
    return found(places) if isinstance(found, type) else found


def joined_rows(
    activations: pl.DataFrame | pl.LazyFrame, corpus: pl.DataFrame
) -> list[dict[str, Any]]:
    """The activations' rows (no vectors) with title, description and topic of their documents."""
    about = corpus.lazy().select(DOC_ID, TITLE, DESCRIPTION, TOPIC, pl.lit(True).alias("known"))
    table = (
        activations.lazy()
        .select(SOURCES)
        .join(about, on=DOC_ID, how="left", maintain_order="left")
        .collect()
    )
    unknown = table.filter(pl.col("known").is_null())
    if unknown.height:
        what = f"{unknown.height} activations belong to no document of the corpus"
        remedy = "make the activations again with `dvc repro activations`"
        raise NlaError(what, where=unknown[DOC_ID][0], remedy=remedy)
    return table.drop("known").to_dicts()
