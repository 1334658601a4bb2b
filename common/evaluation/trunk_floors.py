"""Reference rows of every table: readers of texts that are no ARs, and readers of the source."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from common.data.batches import Example
from common.evaluation.conditions import ORIGINAL
from common.evaluation.embedder import Embedder
from common.evaluation.floors import (
    Floors,
    Lesson,
    embedding_ridge,
    fit_all,
    fit_map,
    mean_direction,
    tfidf_ridge,
)
from common.evaluation.last_tokens import Answers, last_token_features
from common.evaluation.look_up import look_up
from common.evaluation.nearest import nearest_words
from common.evaluation.test_set import TestSet, Texts
from common.evaluation.word_vectors import WordVectors
from common.manifest import digest_of
from common.schema import DOC_ID, KEY, TOKEN_IDS, Reader
from common.trunk.artefacts import Trunk

LAST_TOKEN_FEW = "last_token_few"
"""`last_token` fitted to no more activations than those whose explanations an AR has read."""


class References(NamedTuple):
    """What is compared with an AR: readers of explanations, and of the source, by name."""

    of_texts: Mapping[str, Reader]
    of_sources: Mapping[str, Reader]
    """They are given keys of activations as texts."""
    missing: Mapping[str, str]
    """Why a reader of explanations could not be fitted."""


def fit_references(tests: TestSet, examples: list[Example]) -> References:
    """Readers of explanations, fitted to some, and readers of the source.

    The latter are those of stage `last_tokens`, with the ceiling, and `last_token` fitted to the
    activations of these explanations alone.
    """
    of_texts = fit_floors(tests.trunk, examples, tests.vectors)
    keys = sorted({example.key for example in examples})
    few = fit_all({LAST_TOKEN_FEW: lambda: _last_token_few(tests, keys)})
    of_sources = {name: tests.tails.reader(name) for name in tests.tails.vectors}
    missing = of_texts.missing | few.missing
    return References(of_texts.readers, of_sources | few.readers, missing)


def lesson_of(trunk: Trunk, examples: list[Example]) -> Lesson:
    """The examples as what a reader is fitted to."""
    keys = [one.key for one in examples]
    return Lesson([one.text for one in examples], trunk.store[keys], trunk.documents_of(keys))


def fit_floors(trunk: Trunk, examples: list[Example], vectors: WordVectors) -> Floors:
    """Readers that are no language models, fitted to some explanations."""
    lesson = lesson_of(trunk, examples)
    chosen = trunk.profile.evaluation
    embed = Embedder.load(chosen.embedder, chosen.embedder_sha256, trunk.target)
    return fit_all(
        {
            "mean_direction": lambda: mean_direction(trunk.mean),
            "tfidf_ridge": lambda: tfidf_ridge(lesson),
            "embedding_ridge": lambda: embedding_ridge(lesson, embed),
            "look_up": lambda: look_up(lesson, vectors),
            "nearest_words": lambda: nearest_words(lesson, trunk.mean),
        }
    )


def reference_rows(
    tests: TestSet, references: References, written: Mapping[str, Texts]
) -> pl.DataFrame:
    """Rows of every reference, its name as arm, beside each source of `written`.

    Readers of the source answer alike whatever was written: they stand beside all.
    """
    judge, keys = tests.judge, Texts(tests.keys, tests.dev[KEY].to_list())
    frames, read = [], {}
    for source, texts in written.items():
        for name, reader in references.of_texts.items():
            asked = (name, tuple(texts.test), tuple(texts.dev))
            if asked not in read:
                read[asked] = judge.rows(reader, {ORIGINAL: [*texts.test]}, "", dev=texts.dev)
            frames.append(_named(read[asked], name, source))
    for name, reader in references.of_sources.items():
        rows = judge.rows(reader, {ORIGINAL: [*keys.test]}, "", dev=keys.dev)
        frames += [_named(rows, name, source) for source in written]
    return pl.concat(frames)


def floors_made_of(trunk: Trunk) -> dict[str, Any]:
    """What the floors depend on: the data, the texts they are fitted to and the embedder."""
    chosen = trunk.profile.evaluation
    return trunk.digests() | {
        "examples": digest_of([tuple(example) for example in trunk.ar_examples()]),
        "embedder": [chosen.embedder, chosen.embedder_sha256],
        "distractors": chosen.distractors,
    }


def _named(rows: pl.DataFrame, arm: str, source: str) -> pl.DataFrame:
    return rows.with_columns(arm=pl.lit(arm), source=pl.lit(source))


def _last_token_few(tests: TestSet, keys: list[str]) -> Reader:
    trunk, vectors = tests.trunk, tests.vectors
    rows = trunk.activations(columns=[KEY, DOC_ID, TOKEN_IDS])
    known = rows.filter(pl.col(KEY).is_in(keys))
    lesson = Lesson([], trunk.store[known[KEY].to_list()], known[DOC_ID].to_list())
    read = fit_map([last_token_features(vectors, known)], lesson)
    asked = rows.filter(pl.col(KEY).is_in([*tests.keys, *tests.dev[KEY]]))
    answers = read(last_token_features(vectors, asked))
    return Answers.of(asked[KEY].to_list(), {LAST_TOKEN_FEW: answers}).reader(LAST_TOKEN_FEW)
