"""What words add to a view of the input: conditional FVE, and what either is worth alone.

    view  = μ + Σ aᵢ (partᵢ - μ)   of closed forms of the view, AR(x, no words), AR(x, other words)
    both  = μ + Σ aᵢ' (partᵢ - μ) + b (AR(x, z) - μ)
    conditional FVE = 1 - mean ||n(h) - both||² / mean ||n(h) - view||²

The scalars are fitted by least squares on dev rows and kept for the test, as in FVE beyond the last
tokens (`common/metrics/beyond.py`), and rows are paired with their denominators as there. So an AR
that trusts words too much, or knows less of its view than a ridge regression, does not make words
look better or worse than they are. *Other words* are those of other documents, a mean over several:
an AR that is mostly trained with words knows its view best beside some, whatever they say.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from ar_variants.input_aware.informed import InformedReconstructor
from common.evaluation.conditions import other_documents
from common.evaluation.last_tokens import COUNTS
from common.evaluation.spoken import measures_of
from common.evaluation.test_set import TestSet, Texts
from common.metrics.beyond import Stack, better_form, fit_stack, stack_errors
from common.metrics.fve import normalize
from common.models.reconstructor import Reconstructor
from common.schema import (
    AV,
    DOC_ID,
    EXPLANATION,
    KEY,
    TEACHER,
    TEST,
    TOKEN_IDS,
    Reader,
    Reading,
    View,
)

OTHERS = (1 / 2, 1 / 3, 2 / 3)
"""How far away those documents are whose words stand for any words; the first for swapped ones."""
MOST_SEEN = 0.95
"""FVE of a view above which nothing is left for words: no conditional FVE is given."""
Answers = Float[Tensor, "_rows d_model"]
Closed = Callable[[pl.DataFrame], Answers]
"""Rows with key and token_ids → what a closed form of the view predicts, in units of n(h)."""


class Form(NamedTuple):
    """An answer for the dev and for the test rows, in the form that is better on dev."""

    dev: Answers
    test: Answers
    is_normal: bool


def closed_of(model: Reconstructor, tests: TestSet, tokens: int | None, view: View) -> list[Closed]:
    """The closed forms of what an AR sees.

    Its own; and where it sees last tokens, linear maps of the target's own blocks on as many of
    them, or fewer.
    """
    found: list[Closed] = []
    if isinstance(model, InformedReconstructor):
        found = [lambda rows: model.predicted([view(tuple(i)) for i in rows[TOKEN_IDS].to_list()])]
    names = [f"own_blocks_last_{count}_linear" for count in COUNTS if count <= (tokens or 0)]
    return [*found, *(partial(_of_tail, tests.tails, name) for name in names)]


def _of_tail(tails: Any, name: str, rows: pl.DataFrame) -> Answers:
    return tails.for_keys(name, rows[KEY].to_list())


class Conditional:
    """Measures of an AR that sees `view`, and of the closed forms of this view."""

    def __init__(
        self,
        tests: TestSet,
        read: Reader,
        view: View,
        closed: Sequence[Closed] = (),
        blind: bool = True,
    ) -> None:
        """Reads what the view is worth alone; `blind`: whether the AR can do without a view."""
        self.tests, self.read, self.view, self.blind = tests, read, view, blind
        self.closed = [self._form(of(tests.dev), of(tests.table)) for of in closed]
        self.alone = self._form(*self._answers("", ""))
        self.known = [*self.closed, self.alone]

    @property
    def variance(self) -> float:
        """Mean ||n(h) - μ||² on test."""
        return self.tests.denominators["variance"]

    def measures(self) -> pl.DataFrame:
        """Those of the view, and of the teacher's and the AV's words beside it."""
        frames = [self.of_view()]
        for source in (TEACHER, AV):
            frames += self._of_words(source)
        return pl.concat(frames)

    def of_view(self) -> pl.DataFrame:
        """FVE with the best length, of what is known without words.

        `view_read` of AR(x, no words), `view_closed` of the closed form, `view_gain` the first
        minus the second, and `view_known` of both together, which leaves open what words may fill.
        """
        values = {"view_read": self._fve([self.alone]), "view_known": self._fve(self.known)}
        if self.closed:
            values["view_closed"] = self._fve(self.closed)
            values["view_gain"] = values["view_read"] - values["view_closed"]
        return measures_of(self.tests.table, values)

    def _of_words(self, source: str) -> list[pl.DataFrame]:
        """`words_alone_<source>`, `conditional_<source>`; `..._swapped` and `..._elsewhere`.

        The first only of an AR that can do without a view. Swapped words are those of another
        document, words from elsewhere those of another position of the same document; a row without
        such a position has no value.
        """
        tests, texts = self.tests, self.tests.written_by(source)
        frames = []
        if self.blind:
            blind = self._form(*self._answers(texts.dev, texts.test, blind=True))
            values = {f"words_alone_{source}": self._fve([blind])}
            frames.append(measures_of(tests.table, values))
        if float(self._fve(self.known).mean()) > MOST_SEEN:
            return frames
        known = [*self.known, self._beside_others(texts)]
        both = self._form(*self._answers(texts.dev, texts.test))
        left, stack = self._fitted(known)[1], self._fitted([*known, both])[0]
        said = {"": texts.test, "_swapped": self._others(tests.table, texts.test)[0]}
        for name, words in {**said, "_elsewhere": self._elsewhere(source)}.items():
            rows = [row for row, text in enumerate(words) if text is not None]
            if rows:
                given = [words[row] or "" for row in rows]
                answers = self.read(self._readings(tests.table[rows], given))
                answers = normalize(answers) if both.is_normal else answers
                parts = [*(form.test[rows] for form in known), answers]
                values = self._saved(stack, left, rows, parts)
                measured = {f"conditional_{source}{name}": values}
                frames.append(measures_of(tests.table[rows], measured))
        return frames

    def _saved(
        self, stack: Stack, left: Tensor, rows: list[int], parts: Sequence[Answers]
    ) -> Float[Tensor, " rows"]:
        """Of each row what is saved of the mean error of the view, less than its own error."""
        judge = self.tests.judge
        errors = stack_errors(stack, judge.mean, judge.activations[rows], parts)
        return 1 - (errors - (left[rows] - left.mean())) / left.mean()

    def _beside_others(self, texts: Texts) -> Form:
        """What the AR answers to its view beside the words of other documents, a mean."""
        tests, found = self.tests, []
        for table, own in ((tests.dev, texts.dev), (tests.table, texts.test)):
            answers = [
                self.read(self._readings(table, words)) for words in self._others(table, own)
            ]
            found.append(torch.stack([normalize(one) for one in answers]).mean(0))
        return self._form(*found)

    def _others(self, table: pl.DataFrame, texts: Sequence[str]) -> list[list[str]]:
        """For each row the words of other documents, once for each of `OTHERS`."""
        documents = table[DOC_ID].to_list()
        return [[texts[row] for row in other_documents(documents, share)] for share in OTHERS]

    def _elsewhere(self, source: str) -> list[str | None]:
        """For each row the words on another test position of its document."""
        table = self.tests.trunk.explanations(source).sort(KEY)
        keys = {*self.tests.trunk.activations([TEST], [KEY])[KEY]}
        by_document: dict[str, list[tuple[str, str]]] = {}
        for key, document, text in table.select(KEY, DOC_ID, EXPLANATION).iter_rows():
            if key in keys:
                by_document.setdefault(document, []).append((key, text))
        return [
            next((text for other, text in by_document.get(document, []) if other != key), None)
            for key, document in self.tests.table.select(KEY, DOC_ID).iter_rows()
        ]

    def _answers(
        self, dev: Sequence[str] | str, test: Sequence[str] | str, blind: bool = False
    ) -> tuple[Answers, Answers]:
        """The AR's, for the dev and for the test rows; one text may stand for all."""
        asked = []
        for table, words in ((self.tests.dev, dev), (self.tests.table, test)):
            texts = [words] * table.height if isinstance(words, str) else words
            readings = self._readings(table, texts)
            asked.append([Reading(one.text) for one in readings] if blind else readings)
        return self.read(asked[0]), self.read(asked[1])

    def _readings(self, table: pl.DataFrame, texts: Sequence[str]) -> list[Reading]:
        seen = [self.view(tuple(ids)) for ids in table[TOKEN_IDS].to_list()]
        return [Reading(*pair) for pair in zip(texts, seen, strict=True)]

    def _form(self, dev: Answers, test: Answers) -> Form:
        judge = self.tests.judge
        found, is_normal = better_form(judge.mean, judge.beyond.dev.activations, dev)
        return Form(found, normalize(test) if is_normal else test, is_normal)

    def _fitted(self, forms: Sequence[Form]) -> tuple[Stack, Float[Tensor, " rows"]]:
        """Scalars of the parts, from dev, and what they leave open of each test row."""
        judge = self.tests.judge
        stack = fit_stack(judge.mean, judge.beyond.dev.activations, [one.dev for one in forms])
        parts = [one.test for one in forms]
        return stack, stack_errors(stack, judge.mean, judge.activations, parts)

    def _fve(self, forms: Sequence[Form]) -> Float[Tensor, " rows"]:
        """Of each test row; the mean is FVE."""
        return 1 - self._fitted(forms)[1] / self.variance
