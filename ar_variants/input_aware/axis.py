"""Where what an explanation says stands in its input, and what it adds to the input's end.

An AR that is aware of the input sees a window, its last tokens. Whatever an explanation says
stands in that window, in the hidden rest before it, or in neither. These are measures of texts:
no AR is asked.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from math import nan
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.arms.arm import Arm
from common.arms.evaluation import Collected, Evaluation
from common.data.batches import examples_of
from common.data.corpus import load_corpus
from common.data.near_words import NearWords
from common.data.syntax import FUNCTION_WORDS
from common.evaluation.conditions import other_documents
from common.evaluation.decodable import LABELS, Features, balanced, kept_rows, predicted, tfidf
from common.evaluation.known import Known, known_of
from common.evaluation.test_set import TestSet
from common.metrics.quotes import quoted_spans
from common.metrics.words import words
from common.schema import (
    AR_SFT,
    AV,
    DOC_ID,
    KEY,
    RL,
    SPLIT,
    TEACHER,
    TEXT,
    TOKEN_IDS,
    TRAINING_SPLITS,
)
from common.target.text import decode, encode
from common.trunk.artefacts import Trunk

WINDOWS = (1, 4, 16, 64)
"""Tokens at the end of an input that can be seen."""
LESSONS: Mapping[str, tuple[str, int | None]] = {TEACHER: (AR_SFT, 1500), AV: (RL, None)}
"""Each writer, with the split on whose explanations classifiers are fitted, and on how many."""
SIMILAR = 0.3
"""Least cosine at which two words are similar.

Looked at on the test explanations of SmolLM2-135M, beside windows of 16 and 64 tokens: of the
nearest pairs between .3 and .35 some nineteen in twenty are of like meaning or of one kind (light
and brightness, ocean and river), of those between .2 and .25 two in three (text and book, but also
words and atoms), of those between .1 and .15 one in three. At .3, of the words that an explanation
does not have from the text, 5 to 6 % are similar to one of the last 64 tokens, and 2 % of those of
another document's explanation.
"""
Columns = dict[str, np.ndarray]
"""Measure → a value for each test row; NaN where it is undefined."""
Alike = Mapping[str, AbstractSet[str]]
"""A word of explanations → the content words of inputs that are similar to it, if there are any."""


class Parts(NamedTuple):
    """The different words of one input."""

    visible: AbstractSet[str]
    """Of the window. Where it begins inside a word, the piece in it counts as a word."""
    hidden: AbstractSet[str]
    """Of the text before the window (likewise with pieces), without the visible ones."""
    everywhere: AbstractSet[str]
    """Of both, and of the text undivided."""


class Said(NamedTuple):
    """The different words of one explanation."""

    content: AbstractSet[str]
    """All but function words."""
    quoted: AbstractSet[str]
    """All inside quotation marks."""


class WindowAxis(Evaluation):
    """Measures of the explanations of the control's test activations, for each pair and window.

    With w the tokens of the window: `<measure>_<writer>_<w>` for the measures of `shares` and for
    `adds_<label>`, and `decodable_view_<label>_<w>` of the classifiers beside the teacher's. See
    `gains` for these two.
    """

    name = "windows"
    has_stage = False

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Rows under the first seed of each pair; pairs share the teacher's."""
        first, frames, taught = arms[0], [], dict[tuple[str, ...], Columns]()
        for seed in sorted(first.first_seeds.values()):
            tests = first.test_set(seed)
            if (keys := tuple(tests.keys)) not in taught:
                taught[keys] = columns_of(tests, TEACHER)
            found = rows_of(tests.table, taught[keys] | columns_of(tests, AV))
            run = (pl.lit(first.label).alias("arm"), pl.lit(seed, pl.Int64).alias("seed"))
            frames.append(found.select(*run, pl.all()))
        return Collected(measures=pl.concat(frames))


def columns_of(tests: TestSet, writer: str) -> Columns:
    """All measures of one writer's test explanations."""
    trunk, texts = tests.trunk, tests.written_by(writer).test
    (test, ids), lesson = known_of(trunk, tests.keys), lesson_of(trunk, writer)
    columns, spoken = told_where(tests, writer), tfidf(lesson.texts, texts)
    views: list[Features] = []
    for width in WINDOWS:
        windows = [split_at(trunk.tokenizer, rows, width)[0] for rows in (lesson.ids, ids)]
        views = [*views[:1], tfidf(*windows)]  # in a bag of many words the last one is lost
        view = side_by_side(*views)
        found = gains(view, side_by_side(view, spoken), lesson.known, test)
        for label, (alone, added) in found.items():
            columns[f"adds_{label}_{writer}_{width}"] = added
            if writer == TEACHER:
                columns[f"decodable_view_{label}_{width}"] = alone
    return columns


def told_where(tests: TestSet, writer: str) -> Columns:
    """The measures of words of one writer, by their whole names."""
    table, tokenizer = tests.table, tests.trunk.tokenizer
    said = [said_in(text) for text in tests.written_by(writer).test]
    parts = {}
    for width in WINDOWS:
        halves = split_at(tokenizer, table[TOKEN_IDS].to_list(), width)
        parts[width] = [parts_of(*each) for each in zip(*halves, table[TEXT], strict=True)]
    known = {word for rows in parts.values() for one in rows for word in one.everywhere}
    corpus = load_corpus(tests.trunk.places.corpus).filter(pl.col(SPLIT).is_in(TRAINING_SPLITS))
    near = NearWords(corpus[TEXT].to_list(), tokenizer, tests.vectors.table)
    alike = similar_words(near, {word for one in said for word in one.content}, known)
    others = other_documents(table[DOC_ID].to_list())
    return {
        f"{measure}_{writer}_{width}": values
        for width, inputs in parts.items()
        for measure, values in above_chance(said, others, inputs, alike).items()
    }


def split_at(
    tokenizer: Any, rows: Sequence[Sequence[int]], width: int
) -> tuple[list[str], list[str]]:
    """The windows of some inputs, their last `width` tokens, and the texts before these."""
    windows = decode(tokenizer, [ids[-width:] for ids in rows])
    return windows, decode(tokenizer, [ids[:-width] for ids in rows])


def parts_of(window: str, rest: str, text: str) -> Parts:
    """The words of a window, of the text before it, and of the text that both make up."""
    visible, before = frozenset(words(window)), frozenset(words(rest))
    return Parts(visible, before - visible, visible | before | frozenset(words(text)))


def said_in(text: str) -> Said:
    """The words of an explanation."""
    quoted = (word for start, end in quoted_spans(text) for word in words(text[start:end]))
    return Said(frozenset(words(text)) - FUNCTION_WORDS, frozenset(quoted))


def similar_words(near: NearWords, said: AbstractSet[str], known: AbstractSet[str]) -> Alike:
    """Of the known words, without function words, those that are similar to each said word.

    By the target's input embeddings, centred as those of the common words of `near` are. A word of
    several tokens has no embedding.
    """
    one, other = (
        single_tokens(near.tokenizer, sorted(some)) for some in (said, known - FUNCTION_WORDS)
    )
    cosines = directions(near, [*one.values()]) @ directions(near, [*other.values()]).T
    found, rows, columns = dict[str, set[str]](), [*one], [*other]
    for row, column in (cosines >= SIMILAR).nonzero().tolist():
        found.setdefault(rows[row], set()).add(columns[column])
    return found


def single_tokens(tokenizer: Any, known: Sequence[str]) -> dict[str, int]:
    """The token of each word that is one token behind a space.

    The words are case folded: where only the word with a capital is one token, as of many names, it
    is that token.
    """
    found = dict[str, int]()
    for written in ([word.capitalize() for word in known], known):
        ids = encode(tokenizer, [f" {word}" for word in written])
        found |= {word: one[0] for word, one in zip(known, ids, strict=True) if len(one) == 1}
    return found


def directions(near: NearWords, ids: Sequence[int]) -> Float[Tensor, "rows d_model"]:
    """Embeddings of tokens of length 1, without what common words share."""
    centred = near.embeddings[torch.tensor(ids, dtype=torch.long)].float() - near.mean
    return functional.normalize(centred - centred @ near.shared.T @ near.shared, dim=-1)


def shares(said: Said, parts: Parts, alike: Alike) -> dict[str, float]:
    """Of the words of an explanation the shares that stand in an input; NaN of no words.

    `visible`, `hidden`: of its content words those of the window, and those of the rest alone.
    `quoted_visible`, `quoted_hidden`: likewise of all words inside quotation marks.
    `near_visible`, `near_hidden`: of the content words that stand nowhere in the text those that
    are similar to a content word of the window, or to one of the rest alone; both may be.
    """
    foreign, found = said.content - parts.everywhere, dict[str, float]()
    for name, known in (("visible", parts.visible), ("hidden", parts.hidden)):
        near = {word for word in foreign if not known.isdisjoint(alike.get(word, ()))}
        found[name] = _share(said.content & known, said.content)
        found[f"near_{name}"] = _share(near, foreign)
        found[f"quoted_{name}"] = _share(said.quoted & known, said.quoted)
    return found


def _share(part: AbstractSet[str], of: AbstractSet[str]) -> float:
    return len(part) / len(of) if of else nan


def above_chance(
    said: Sequence[Said], others: Sequence[int], parts: Sequence[Parts], alike: Alike
) -> Columns:
    """The shares of each explanation minus those of another one in the same input.

    `others` are the rows of the other ones. NaN where either share is undefined.
    """
    own = [shares(one, place, alike) for one, place in zip(said, parts, strict=True)]
    by_chance = [
        shares(said[other], place, alike) for other, place in zip(others, parts, strict=True)
    ]
    pairs = list(zip(own, by_chance, strict=True))
    return {name: np.array([one[name] - other[name] for one, other in pairs]) for name in own[0]}


class Lesson(NamedTuple):
    """What classifiers are fitted to: one writer's explanations of training activations."""

    texts: list[str]
    known: list[Known]
    ids: list[list[int]]
    """Token ids of the inputs."""


def lesson_of(trunk: Trunk, writer: str) -> Lesson:
    """A keyed sample of a writer's explanations of its split."""
    split, limit = LESSONS[writer]
    examples = examples_of(trunk.explanations(writer).filter(pl.col(SPLIT) == split), limit)
    return Lesson([one.text for one in examples], *known_of(trunk, [one.key for one in examples]))


def side_by_side(*parts: Features) -> Features:
    """Several features of each row, in float32: twice as fast, and the same classes.

    Rotated to as many coordinates as there are training rows, in which a ridge finds the same.
    """
    train = np.hstack([one.train for one in parts]).astype(np.float32)
    test = np.hstack([one.test for one in parts]).astype(np.float32)
    if train.shape[1] > len(train):
        turn, _ = np.linalg.qr(train.T)
        train, test = train @ turn, test @ turn
    return Features(train, test, parts[0].penalties)


def gains(
    view: Features, both: Features, train: Sequence[Known], test: Sequence[Known]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By label: values of the window alone, and what the explanation beside it adds to them.

    The means over test rows are a balanced accuracy, and a difference of two; NaN for a row
    without a label or of a class with too few examples. A label of one class is left out.
    """
    found, documents = {}, [one.doc_id for one in train]
    for label, of in LABELS.items():
        own, true = [of(one) for one in train], [of(one) for one in test]
        kept = kept_rows(own, true)
        if not kept.test:
            continue
        classes, truth = np.array(own)[kept.train], np.array(true)[kept.test]
        groups, values = [documents[row] for row in kept.train], np.full((2, len(test)), nan)
        for place, features in enumerate((view, both)):
            answers = predicted(features, kept.train, classes, groups)[kept.test]
            values[place, kept.test] = balanced(truth, answers)
        found[label] = (values[0], values[1] - values[0])
    return found


def rows_of(table: pl.DataFrame, columns: Columns) -> pl.DataFrame:
    """A row for each activation of a table and each measure that is defined for it."""
    keys = table.select(KEY, cluster=pl.col(DOC_ID))
    frames = [
        keys.with_columns(pl.lit(name).alias("measure"), pl.Series("value", values))
        for name, values in columns.items()
    ]
    return pl.concat(frames).filter(pl.col("value").is_not_nan())
