"""What words add to a view, by readers that answer what a test has decided."""

from collections.abc import Callable, Sequence

import polars as pl
import pytest
import torch
from torch import Tensor

from ar_variants.input_aware.conditional import Conditional
from ar_variants.input_aware.views import whole
from common.evaluation.test_set import TestSet
from common.metrics.fve import normalize
from common.schema import AV, KEY, TEACHER, TOKEN_IDS, Reading

Answer = Callable[[Tensor, Tensor, bool], Tensor]
"""What is known of a row, its n(h), whether its own words are told → the answer."""


class Rows:
    """The dev and test rows by what their readers see."""

    def __init__(self, tests: TestSet) -> None:
        self.tests = tests
        self.truth, self.known, self.own = {}, {}, {}
        drawn = torch.Generator().manual_seed(0)
        for table in (tests.dev, tests.table):
            truth = normalize(tests.trunk.store[table[KEY].to_list()])
            spread = (truth - tests.trunk.mean).square().mean().sqrt()
            for row, ids in enumerate(table[TOKEN_IDS].to_list()):
                source = tuple(ids)
                self.truth[source] = truth[row]
                noise = spread * torch.randn(truth.shape[1], generator=drawn)
                self.known[source] = truth[row] + noise
                self.own[source] = {table[TEACHER][row], table[AV][row]}

    def measured(self, answer: Answer, closed: bool = True) -> dict[str, float]:
        """Means by measure; without words a reader answers what is known."""

        def read(readings: Sequence[Reading]) -> Tensor:
            return torch.stack([self._answer(answer, one) for one in readings])

        def of_view(rows: pl.DataFrame) -> Tensor:
            return torch.stack([self.known[tuple(ids)] for ids in rows[TOKEN_IDS].to_list()])

        found = Conditional(self.tests, read, whole, [of_view] if closed else []).measures()
        means = found.group_by("measure").agg(pl.col("value").mean())
        return dict(means.iter_rows())

    def _answer(self, answer: Answer, one: Reading) -> Tensor:
        if not one.source:
            return self.tests.trunk.mean
        known, truth = self.known[one.source], self.truth[one.source]
        return answer(known, truth, one.text in self.own[one.source]) if one.text else known


@pytest.fixture
def rows(held_out: TestSet) -> Rows:
    return Rows(held_out)


def test_words_that_add_nothing_score_zero(rows: Rows):
    found = rows.measured(lambda known, truth, own: known)
    for source in (TEACHER, AV):
        for words in ("", "_swapped"):
            assert found[f"conditional_{source}{words}"] == pytest.approx(0, abs=1e-9)
    assert found["view_gain"] == pytest.approx(0, abs=1e-9)
    assert 0.2 < found["view_read"] < 0.95
    assert (
        found["view_closed"]
        == pytest.approx(found["view_known"])
        == pytest.approx(found["view_read"])
    )


def test_words_that_tell_everything_score_one_and_those_of_others_below_zero(rows: Rows):
    found = rows.measured(lambda known, truth, own: truth if own else -truth)
    for source in (TEACHER, AV):
        assert found[f"conditional_{source}"] == pytest.approx(1, abs=1e-6)
        assert found[f"conditional_{source}_swapped"] < -1


def test_half_of_what_is_left_open(rows: Rows):
    """An answer half way from what is known to the truth: the sum of both finds the truth."""
    found = rows.measured(lambda known, truth, own: (known + truth) / 2 if own else known)
    assert found[f"conditional_{AV}"] > 0.95


def test_an_ar_that_trusts_words_too_much_does_not_make_them_look_harmful(rows: Rows):
    """Its answer is mostly wrong words: the fitted sum leaves it out."""
    noise = 30 * torch.randn(64, generator=torch.Generator().manual_seed(3))
    found = rows.measured(lambda known, truth, own: known + noise)
    assert abs(found[f"conditional_{AV}"]) < 0.05


def test_beside_a_view_that_explains_nearly_all_nothing_is_given(rows: Rows):
    rows.known = rows.truth
    found = rows.measured(lambda known, truth, own: truth)
    assert found["view_read"] > 0.95
    assert not [name for name in found if name.startswith("conditional")]
    assert {f"words_alone_{source}" for source in (TEACHER, AV)} <= set(found)


def test_without_a_closed_form_the_ar_alone_is_the_denominator(rows: Rows):
    found = rows.measured(lambda known, truth, own: known, closed=False)
    assert found["view_known"] == found["view_read"]
    assert not {"view_closed", "view_gain"} & set(found)


def test_words_alone_are_worth_what_they_are_without_the_view(rows: Rows):
    """The reader answers μ to them."""
    found = rows.measured(lambda known, truth, own: truth)
    assert found[f"words_alone_{AV}"] == pytest.approx(0, abs=0.02)


def test_words_from_elsewhere_are_of_the_same_document(rows: Rows, held_out: TestSet):
    found = rows.measured(lambda known, truth, own: truth if own else known)
    table = held_out.trunk.explanations(TEACHER)
    assert "conditional_teacher_elsewhere" in found
    texts = Conditional(
        held_out, lambda r: torch.stack([rows._answer(lambda k, t, o: k, one) for one in r]), whole
    )._elsewhere(TEACHER)
    documents = dict(table.select("explanation", "doc_id").iter_rows())
    for key, text in zip(held_out.keys, texts, strict=True):
        assert text is None or key.startswith(f"{documents[text]}:")
    assert any(texts)


def test_an_ar_that_cannot_do_without_its_view_is_not_asked_for_words_alone(rows: Rows):
    asked: list[Reading] = []

    def read(readings: Sequence[Reading]) -> Tensor:
        asked.extend(readings)
        return torch.stack([rows.known[one.source] for one in readings])

    found = Conditional(rows.tests, read, whole, blind=False).measures()
    assert not any(name.startswith("words_alone") for name in found["measure"])
    assert all(one.source for one in asked)
