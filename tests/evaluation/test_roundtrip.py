from collections.abc import Sequence

import polars as pl
import pytest
import torch
from torch import Tensor

from common.evaluation.conditions import (
    ORIGINAL,
    SHUFFLED,
    SOURCE_TEXT,
    conditions,
    other_documents,
    source_texts,
)
from common.evaluation.floors import (
    Embedder,
    FloorError,
    embedding_ridge,
    fit_all,
    mean_direction,
    own_blocks,
    tfidf_ridge,
)
from common.evaluation.roundtrip import Judge
from common.evaluation.test_set import TestSet
from common.metrics.fve import fve, squared_errors, training_mean, variance
from common.models.reconstructor import TruncatedReconstructor
from common.rollout.reading import reconstruct
from common.schema import (
    DOC_ID,
    EXPLANATION,
    KEY,
    TEACHER,
    TEXT,
    TOKEN_IDS,
    TOPIC,
    Reader,
    Reading,
    readings_of,
)
from common.target.load import Target

EAST, NORTH, WEST, SOUTH = [10.0, 0.0], [0.0, 20.0], [-30.0, 0.0], [0.0, -40.0]
COMPASS = torch.tensor([EAST, NORTH, WEST, SOUTH])


@pytest.fixture
def judge() -> Judge:
    """Four directions, so that n(h) has length sqrt(2), μ is 0 and the variance is 2."""
    table = pl.DataFrame({KEY: list("ABCD"), DOC_ID: list("abcd"), TOPIC: ["x", "x", None, None]})
    table = table.with_columns(pl.Series(TOKEN_IDS, [[7, row] for row in range(4)]))
    return Judge(table, COMPASS, training_mean(COMPASS), mean_norm=25.0, distractors=3)


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


def test_the_targets_own_blocks_are_the_ceiling(held_out: TestSet):
    own = own_blocks(
        held_out.trunk.target, held_out.trunk.layer, held_out.table[TOKEN_IDS].to_list()
    )
    errors = squared_errors(own, held_out.judge.activations)
    assert fve(errors, held_out.variances()[0]) > 0.999


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


def topic_ridges(target: Target, texts: list[str], activations: Tensor) -> dict[str, Reader]:
    embed = Embedder(target.model.model, target.tokenizer)
    documents = [str(row // 8) for row in range(len(texts))]
    return {
        "tfidf": tfidf_ridge(texts, activations, documents),
        "embedding": embedding_ridge(texts, activations, documents, embed),
    }


def test_ridge_floors_find_what_the_words_give_away(target: Target):
    torch.manual_seed(0)
    topics = {name: torch.randn(16) for name in ("music", "rivers", "kings", "bread")}
    numbers = [str(number) for number in range(40)]
    texts = [f"A note on {topic}, number {number}." for number in numbers for topic in topics]
    activations = torch.stack([topics[topic] for _ in numbers for topic in topics])
    mean = training_mean(activations)
    held_out = readings_of([f"A note on {topic}, number 77." for topic in topics])
    truth = torch.stack(list(topics.values()))
    for name, read in topic_ridges(target, texts, activations).items():
        assert fve(squared_errors(read(held_out), truth), variance(truth, mean)) > 0.9, name


def test_signs_are_words_where_no_space_parts_them():
    torch.manual_seed(0)
    topics = {name: torch.randn(16) for name in ("音乐", "河流", "国王", "面包")}
    texts = [f"关于{topic}的第{n}篇" for n in range(40) for topic in topics]
    activations = torch.stack([topics[topic] for _ in range(40) for topic in topics])
    read = tfidf_ridge(texts, activations, [str(row // 8) for row in range(160)])
    truth, mean = torch.stack(list(topics.values())), training_mean(activations)
    found = read(readings_of([f"关于{topic}的文章" for topic in topics]))
    assert fve(squared_errors(found, truth), variance(truth, mean)) > 0.9


@pytest.mark.parametrize(
    "texts",
    [
        ["The same text about lakes."] * 190 + [f"Number {number}." for number in range(10)],
        ["The same text about lakes."] * 200,
        ["lake"] * 200,
        ["a lake", "a bay", "a lake"],
    ],
    ids=["nearly the same", "the same", "one word", "three"],
)
def test_a_floor_is_as_wide_as_its_texts_allow(texts: list[str]):
    documents = [str(row // 2) for row in range(len(texts))]
    read = tfidf_ridge(texts, torch.randn(len(texts), 8), documents)
    found = read(readings_of([texts[0], "a word of no text", ""]))
    assert found.shape == (3, 8)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("texts", "documents", "reason"),
    [
        (["one", "two", "three", "four"], list("aabb"), "no word stands in two of the 4 texts"),
        (["", "", " ", ""], list("aabb"), "no word stands in two of the 4 texts"),
        (["a lake"] * 4, ["a"] * 4, "the texts are of a single document"),
    ],
)
def test_a_floor_that_cannot_be_fitted_has_its_reason(texts: list, documents: list, reason: str):
    def fit() -> Reader:
        return tfidf_ridge(texts, torch.randn(4, 8), documents)

    with pytest.raises(FloorError, match=reason):
        fit()
    found = fit_all({"tfidf_ridge": fit, "mean_direction": lambda: mean_direction(torch.ones(8))})
    assert found.missing == {"tfidf_ridge": reason}
    assert list(found.readers) == ["mean_direction"]


def test_a_sentence_embedding_does_not_depend_on_its_neighbours(target: Target):
    texts = ["a lake", "the long road to the northern hills and back", "salt"]
    together = Embedder(target.model.model, target.tokenizer)(texts)
    for text, found in zip(texts, together, strict=True):
        alone = Embedder(target.model.model, target.tokenizer)([text])[0]
        assert found == pytest.approx(alone, abs=1e-5)
        assert float((found**2).sum()) == pytest.approx(1, abs=1e-5)
