"""Floors and ceiling of a trunk: readers that are not ARs, and the target's own blocks."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from common.data.batches import Example
from common.device import best_device
from common.evaluation import floors
from common.evaluation.conditions import ORIGINAL, Conditions
from common.evaluation.test_set import TestSet
from common.manifest import digest_of
from common.schema import TOKEN_IDS
from common.trunk.artefacts import Trunk


def fit_floors(trunk: Trunk, examples: list[Example]) -> floors.Floors:
    """Readers that are no language models, fitted to some explanations."""
    keys, texts = zip(*examples, strict=True)
    vectors, documents = trunk.store[list(keys)], trunk.documents_of(keys)
    chosen = trunk.profile.evaluation
    embed = floors.Embedder.load(chosen.embedder, chosen.embedder_sha256, trunk.target)
    return floors.fit_all(
        {
            "mean_direction": lambda: floors.mean_direction(trunk.mean),
            "tfidf_ridge": lambda: floors.tfidf_ridge(texts, vectors, documents),
            "embedding_ridge": lambda: floors.embedding_ridge(texts, vectors, documents, embed),
        }
    )


def ceiling(tests: TestSet, sources: Sequence[str]) -> pl.DataFrame:
    """Rows of the target's own first blocks on the source text, beside each writer's."""
    target, table = tests.trunk.target, tests.table
    target.model.to(best_device())
    own = floors.own_blocks(target, tests.trunk.layer, table[TOKEN_IDS].to_list())
    asked: Conditions = {ORIGINAL: [*tests.keys]}
    rows = tests.judge.rows(lambda _: own, asked, "").with_columns(arm=pl.lit("own_blocks"))
    return pl.concat(rows.with_columns(source=pl.lit(source)) for source in sources)


def floors_made_of(trunk: Trunk) -> dict[str, Any]:
    """What the floors depend on: the data, the texts they are fitted to and the embedder."""
    chosen = trunk.profile.evaluation
    return trunk.digests() | {
        "examples": digest_of([tuple(example) for example in trunk.ar_examples()]),
        "embedder": [chosen.embedder, chosen.embedder_sha256],
        "distractors": chosen.distractors,
    }
