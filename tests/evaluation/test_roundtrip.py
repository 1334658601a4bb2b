from collections.abc import Sequence

import polars as pl
import pytest
import torch
from torch import Tensor

from common.config import EvaluationConfig
from common.errors import NlaError
from common.evaluation.bases import HeldOut, Said
from common.evaluation.conditions import (
    ORIGINAL,
    SHUFFLED,
    SOURCE_TEXT,
    conditions,
    other_documents,
    source_texts,
)
from common.evaluation.floors import mean_direction
from common.evaluation.roundtrip import Judge, damaged_rows
from common.evaluation.test_set import TestSet
from common.metrics.fve import fve, normalize, training_mean, variance
from common.models.reconstructor import TruncatedReconstructor
from common.rollout.reading import reconstruct
from common.schema import (
    DOC_ID,
    EXPLANATION,
    KEY,
    TEACHER,
    TEXT,
    TOKEN_IDS,
    Reading,
    readings_of,
)
from common.target.load import Target

EAST, NORTH, WEST, SOUTH = [10.0, 0.0], [0.0, 20.0], [-30.0, 0.0], [0.0, -40.0]
COMPASS = torch.tensor([EAST, NORTH, WEST, SOUTH])


def compass(names: str, documents: str, last: Tensor) -> HeldOut:
    """Rows whose last token is known as well as `last` says, beside a μ of 0."""
    vectors = {"A": EAST, "B": NORTH, "C": WEST, "D": SOUTH}
    table = pl.DataFrame({KEY: list(names), DOC_ID: list(documents)})
    ids = [[7, "ABCD".index(name)] for name in names]
    table = table.with_columns(pl.Series(TOKEN_IDS, ids))
    bases = {0: [], 1: [last], 4: [last]}
    return HeldOut(table, torch.tensor([vectors[name] for name in names]), bases)


@pytest.fixture
def judge() -> Judge:
    """Four directions, so that n(h) has length sqrt(2), μ is 0 and the variance is 2.

    The last token tells half of every test activation, and nothing of the others.
    """
    test = compass("ABCD", "abcd", 0.5 * normalize(COMPASS))
    dev = compass("AB", "ef", 0.5 * normalize(COMPASS[:2]))
    config = EvaluationConfig(distractors=3, damaged_documents=4)
    return Judge(test, dev, training_mean(COMPASS), mean_norm=25.0, config=config)


def by_name(readings: Sequence[Reading]) -> Tensor:
    names = {"east": EAST, "north": NORTH, "west": WEST, "south": SOUTH}
    return torch.tensor([names[reading.text] for reading in readings]).reshape(-1, 2)


def fve_of(rows: pl.DataFrame, transform: str, spread: float) -> float:
    errors = rows.filter(pl.col("transform") == transform, pl.col("applied"))["squared_error"]
    return fve(torch.tensor(errors.to_list(), dtype=torch.float64), spread)


def test_errors_by_hand(judge: Judge):
    rows = judge.rows(by_name, {ORIGINAL: ["east", "east", "east", "south"]}, TEACHER)
    assert rows[KEY].to_list() == list("ABCD")
    assert rows["squared_error"].to_list() == pytest.approx([0, 4, 8, 0], abs=1e-5)
    assert rows["cosine"].to_list() == pytest.approx([1, 0, -1, 1], abs=1e-6)
    raw = [(25 - 10) ** 2, 25**2 + 20**2, (25 + 30) ** 2, (25 - 40) ** 2]
    assert rows["raw_squared_error"].to_list() == pytest.approx(raw, rel=1e-5)
    assert rows["retrieval_rank"].to_list() == [1, 3, 4, 1], "a tie ranks last"
    assert fve_of(rows, ORIGINAL, variance(COMPASS, judge.mean)) == pytest.approx(1 - 3 / 2)


def test_texts_that_could_not_be_made_are_counted_and_not_replaced(judge: Judge):
    texts = {
        ORIGINAL: ["east", "north", "west", "south"],
        "quotes_only": [None, "north", None, "east"],
        "quotes_stripped": [None, None, None, None],
    }
    asked: list[Reading] = []

    def read(wanted: Sequence[Reading]) -> Tensor:
        asked.extend(wanted)
        return by_name(wanted)

    rows = judge.rows(read, texts, TEACHER)
    assert asked == readings_of(["east", "north", "west", "south"])  # each text once
    assert rows.height == 12
    part = rows.filter(transform="quotes_only")
    assert part["applied"].to_list() == [False, True, False, True]
    assert part["squared_error"].to_list()[1::2] == pytest.approx([0, 4], abs=1e-5)
    assert part["squared_error"].to_list()[::2] == [None, None]
    assert part["retrieval_rank"].to_list() == [None] * 4, "retrieval is of whole originals only"
    nothing = rows.filter(transform="quotes_stripped")
    assert not nothing["applied"].any()
    assert nothing["cosine"].null_count() == 4


def test_beside_each_text_stands_what_may_be_seen_of_the_rows_own_input(judge: Judge):
    asked: list[Reading] = []

    def by_source(wanted: Sequence[Reading]) -> Tensor:
        asked.extend(wanted)
        return COMPASS[[source[-1] for _, source in wanted]]

    texts = {ORIGINAL: ["east"] * 4, SHUFFLED: ["west", None, "east", "east"]}
    rows = judge.rows(by_source, texts, TEACHER, lambda ids: ids[1:])
    assert asked == [*(Reading("east", (row,)) for row in range(4)), Reading("west", (0,))]
    assert rows.filter(pl.col("applied"))["cosine"].to_list() == pytest.approx([1] * 7)


def test_errors_beyond_the_last_token_by_hand():
    """In dev the answers are the truth; in the test one is wrong."""
    half = 0.5 * normalize(COMPASS)
    test, dev = compass("AB", "ab", half[:2]), compass("AB", "cd", half[:2] * 0 + half[:1])
    config = EvaluationConfig(distractors=1)
    judge = Judge(test, dev, torch.zeros(2), mean_norm=25.0, config=config)
    # In dev the base is [√½, 0] twice, for truths [√2, 0] and [0, √2]: a₀ = 1.
    assert judge.beyond.variances["beyond_1"] == pytest.approx(2 * 0.25)
    assert judge.beyond.variances["beyond_0"] == pytest.approx(2)
    rows = judge.rows(by_name, {ORIGINAL: ["east", "east"]}, TEACHER, dev=["east", "north"])
    # The answers are the truth in dev, so a = 0 and b = 1: what counts in the test is the answer.
    assert rows["error_beyond_1"].to_list() == pytest.approx([0, 4], abs=1e-5)
    assert rows["error_beyond_0"].to_list() == pytest.approx([0, 4], abs=1e-5)


def test_who_only_copies_the_last_token_scores_nothing_beyond_it(judge: Judge):
    """Read with the true last token, answers are the base itself, whatever they are worth."""

    def copy(wanted: Sequence[Reading]) -> Tensor:
        return torch.stack([judge.test.bases[1][0]["ABCD".index(one.text)] for one in wanted])

    rows = judge.rows(copy, {ORIGINAL: [*"ABCD"]}, TEACHER, dev=[*"AB"])
    assert rows["squared_error"].to_list() == pytest.approx([0] * 4, abs=1e-5), "FVE 1, in fact"
    error = rows["error_beyond_1"].mean()
    assert error == pytest.approx(judge.beyond.variances["beyond_1"], abs=1e-9)


def test_a_claimed_word_that_is_wrong_takes_nothing_from_the_rest(judge: Judge):
    """Texts claim a direction in words; the answers are claim and truth, so that b = 1, c = -1."""

    def claims(texts: Sequence[str]) -> Tensor:
        return normalize(by_name(readings_of([text.split("/")[0] for text in texts])))

    def read(wanted: Sequence[Reading]) -> Tensor:
        rest = by_name(readings_of([one.text.split("/")[1] for one in wanted]))
        return 0.4 * (claims([one.text for one in wanted]) + normalize(rest))

    judge.claims = claims
    texts = {ORIGINAL: ["north/east", "east/north", "west/west", "west/south"]}
    rows = judge.rows(read, texts, TEACHER, dev=["south/east", "north/north"])
    assert rows["error_beyond_1"].to_list() == pytest.approx([0] * 4, abs=1e-5)


def test_errors_are_paired_with_those_of_the_base(judge: Judge):
    """Of one row the base leaves all open, of the other nothing: silence has the mean of both."""
    half = 0.5 * normalize(COMPASS[:2])
    test, dev = compass("AB", "ab", half * torch.tensor([[0.0], [1.0]])), judge.dev
    judge = Judge(test, dev, torch.zeros(2), 25.0, EvaluationConfig(distractors=1))
    spread = judge.beyond.variances["beyond_1"]
    assert spread == pytest.approx(1.0), "the scale of the base is 2: nothing is left of the second"
    nothing = judge.rows(
        lambda wanted: torch.zeros(len(wanted), 2), {ORIGINAL: ["x", "y"]}, TEACHER, dev=["x", "y"]
    )
    assert nothing["error_beyond_1"].to_list() == pytest.approx([spread, spread])


def test_scalars_are_those_of_the_unchanged_dev_texts(judge: Judge):
    texts = {ORIGINAL: ["east"] * 4, SHUFFLED: ["west"] * 4}
    rows = judge.rows(by_name, texts, TEACHER, dev=["east", "north"])
    nothing = torch.zeros(4, 2)
    fitted = judge.beyond.fit(Said(by_name(readings_of(["east", "north"])), nothing[:2]))
    west = Said(by_name(readings_of(["west"] * 4)), nothing)
    expected = judge.beyond.errors(fitted, [0, 1, 2, 3], west)["error_beyond_4"].tolist()
    assert rows.filter(transform=SHUFFLED)["error_beyond_4"].to_list() == pytest.approx(expected)


def test_without_dev_texts_errors_beyond_are_unknown(judge: Judge):
    rows = judge.rows(by_name, {ORIGINAL: ["east"] * 4}, TEACHER)
    assert rows["error_beyond_1"].null_count() == 4
    assert rows.schema["error_beyond_0"] == pl.Float64


def test_an_answer_that_is_not_finite_is_refused(judge: Judge):
    def broken(wanted: Sequence[Reading]) -> Tensor:
        return torch.full((len(wanted), 2), torch.nan)

    with pytest.raises(NlaError, match="2 of 2 rows are not finite"):
        judge.rows(broken, {ORIGINAL: ["east"] * 4}, TEACHER, dev=["east", "north"])


def test_damaged_texts_are_read_for_some_documents_only(judge: Judge):
    judge.damaged = damaged_rows([*"abcd"], 2)
    assert len(judge.damaged) == 2
    asked: list[Reading] = []

    def read(wanted: Sequence[Reading]) -> Tensor:
        asked.extend(wanted)
        return by_name(wanted)

    texts = {ORIGINAL: ["east"] * 4, SHUFFLED: ["west"] * 4, "quotes_only": ["south"] * 3 + [None]}
    rows = judge.rows(read, texts, TEACHER)
    assert rows.group_by("transform").len().sort("transform")["len"].to_list() == [4, 2, 4]
    some = rows.filter(transform="quotes_only")
    assert some[KEY].to_list() == ["ABCD"[row] for row in sorted(judge.damaged)], "the rest absent"
    judge.damaged = frozenset({0})
    asked.clear()
    judge.rows(read, {"prefix_4": ["east", "north", "west", "south"]}, TEACHER)
    assert asked == readings_of(["east"]), "not read, either"


def test_documents_are_chosen_by_key_and_all_their_rows_with_them():
    documents = ["b", "a", "b", "c", "a"]
    for count in (1, 2, 3, 9):
        chosen = damaged_rows(documents, count)
        assert chosen == damaged_rows(documents, count)
        assert len({documents[row] for row in chosen}) == min(count, 3)
        assert damaged_rows(documents, 1) <= chosen
        for row, name in enumerate(documents):
            assert (row in chosen) == (name in {documents[other] for other in chosen})


def test_a_perfect_ar_has_fve_1_and_a_negative_shuffled_floor(held_out: TestSet):
    truth = held_out.judge.activations
    texts = [str(row) for row in range(len(truth))]
    named = held_out.table.select(KEY, DOC_ID, TEXT).with_columns(pl.Series(EXPLANATION, texts))
    found = conditions(named, held_out.profile.evaluation, held_out.trunk.target.tokenizer)
    rows = held_out.judge.rows(
        lambda wanted: truth[[int(reading.text) for reading in wanted]],
        {name: found[name] for name in (ORIGINAL, SHUFFLED)},
        TEACHER,
    )
    spread, _ = held_out.variances()
    assert fve_of(rows, ORIGINAL, spread) == pytest.approx(1)
    assert set(rows.filter(transform=ORIGINAL)["retrieval_rank"]) == {1}
    assert -1.5 < fve_of(rows, SHUFFLED, spread) < -0.5


def test_the_mean_direction_is_below_the_mean_itself(held_out: TestSet):
    texts: list[str | None] = [""] * len(held_out.judge.activations)
    rows = held_out.judge.rows(mean_direction(held_out.trunk.mean), {ORIGINAL: texts}, TEACHER)
    found = fve_of(rows, ORIGINAL, held_out.variances()[0])
    assert -1 < found < 0, "scaled to full length, μ no longer is the best constant"


def test_reconstructions_come_in_the_order_of_the_texts(target: Target):
    model = TruncatedReconstructor(target.model, target.tokenizer, 2, 96)
    texts = ["a long text about a lake in the hills", "a bay", "a", "a bay", "a long text"]
    readings = readings_of(texts)
    together = reconstruct(model, readings, batch_size=2, precision="32-true")
    for reading, found in zip(readings, together, strict=True):
        alone = reconstruct(model, [reading], batch_size=64, precision="32-true")[0]
        assert torch.allclose(found, alone, atol=1e-5)
    assert torch.equal(together[1], together[3])
    low = reconstruct(model, readings, batch_size=2, precision="bf16-mixed")
    assert low.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(low, together).min() > 0.999


def test_shuffling_gives_every_row_the_text_of_another_document():
    documents = ["b", "a", "c", "b", "a", "c", "d"]
    swapped = other_documents(documents)
    assert sorted(swapped) == list(range(7))
    assert all(documents[row] != documents[other] for row, other in enumerate(swapped))
    assert swapped == other_documents(documents)


def test_conditions_stand_beside_the_original(held_out: TestSet):
    found = held_out.conditions_by(TEACHER)
    assert {len(texts) for texts in found.values()} == {held_out.table.height}
    assert found[ORIGINAL] == held_out.table[TEACHER].to_list()
    assert {"quotes_only", "quotes_stripped", "random_stripped", "paraphrase"} <= found.keys()
    tokenizer = held_out.trunk.target.tokenizer
    for text, cut in zip(found[ORIGINAL], found["prefix_8"], strict=True):
        if cut is not None:
            assert text is not None
            assert text.startswith(cut.strip())
            assert len(tokenizer.encode(cut)) <= 8
    assert any(cut is not None for cut in found["prefix_8"])


def test_the_source_text_keeps_its_end(held_out: TestSet):
    table, tokenizer = held_out.table, held_out.trunk.target.tokenizer
    cut = source_texts(table, tokenizer, 5)
    for text, ids, ending in zip(table["text"], table[TOKEN_IDS].to_list(), cut, strict=True):
        assert tokenizer.encode(ending, add_special_tokens=False) == ids[-5:]
        assert text.endswith(ending)
    limit = held_out.profile.ar.max_explanation_tokens
    assert held_out.conditions_by(TEACHER)[SOURCE_TEXT] == source_texts(table, tokenizer, limit)
