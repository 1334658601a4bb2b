import numpy as np
import polars as pl
import pytest
import torch

from common.evaluation.decodable import (
    LABELS,
    Features,
    Kept,
    balanced,
    decodable_measures,
    decoded,
    kept_rows,
    shares,
    standardised,
    tfidf,
)
from common.evaluation.known import Known, known_of
from common.evaluation.spoken import Spoken
from common.evaluation.test_set import TestSet
from common.schema import AR_SFT, DOC_ID, EXPLANATION, KEY, SPLIT, TEACHER

TOPICS = ("music", "rivers", "kings")


def known(rows: int, topics: tuple[str | None, ...] = TOPICS) -> list[Known]:
    """One position of each document, whose topics take turns."""
    return [
        Known(f"{row:03d}", "A lake in the", (" hills",), topic=topics[row % len(topics)])
        for row in range(rows)
    ]


def names(positions: list[Known]) -> list[str]:
    return [f"A note on {one.topic}, number {row}." for row, one in enumerate(positions)]


def test_the_mean_of_the_values_is_the_balanced_accuracy():
    truth = np.array(["a", "a", "a", "b"])
    assert balanced(truth, np.array(["a", "b", "a", "b"])) == pytest.approx([2 / 3, 0, 2 / 3, 2])
    assert balanced(truth, truth).mean() == pytest.approx(1)
    assert balanced(truth, np.array(["a"] * 4)).mean() == pytest.approx(1 / 2)
    assert balanced(truth, np.array(["b", "b", "b", "a"])).mean() == 0


def test_a_class_with_one_example_on_either_side_is_left_out():
    train, test = ["a", "a", "b", "b", "c", None, "d", "d"], ["a", "d", "b", "a", "b", "c", None]
    assert kept_rows(train, test) == Kept([0, 1, 2, 3], [0, 2, 3, 4])
    assert kept_rows(["a", "a", "b"], ["a", "a", "b", "b"]) == Kept([], []), "one class is left"
    assert kept_rows([], ["a", "a"]) == Kept([], [])
    assert kept_rows([None] * 3, [None] * 3) == Kept([], [])


def test_what_the_texts_name_is_decoded_and_swapped_texts_are_the_floor():
    train, test = known(36), known(10)
    found = decoded({"": tfidf(names(train), names(test))}, train, test)
    assert found["decodable_topic"].mean() == pytest.approx(1)
    assert found["decodable_topic_shuffled"].mean() == 0, "five rows on, each topic is another"
    assert found["decodable_topic_dropped"].sum() == 0
    for label in ("syntax", "next", "ordinal"):  # all alike: nothing to tell apart
        assert f"decodable_{label}" not in found
        assert found[f"decodable_{label}_dropped"].tolist() == [1] * 10


def test_what_is_left_out_is_counted():
    train = known(35, (*TOPICS, None, "rare"))[:-1] + known(1, ("single",))
    test = known(9, (*TOPICS, None, "single"))
    found = decoded({"": tfidf(names(train), names(test))}, train, test)
    left_out = [one.topic in (None, "single", "rare") for one in test]
    assert found["decodable_topic_dropped"].tolist() == left_out
    assert np.isnan(found["decodable_topic"]).tolist() == left_out
    assert np.nanmean(found["decodable_topic"]) == pytest.approx(1)


def test_a_common_class_counts_no_more_than_a_rare_one():
    """Texts without a word to tell them apart are at chance, however common one class is."""
    train, test = known(60, ("music",) * 9 + ("kings",)), known(20, ("music",) * 9 + ("kings",))
    found = decoded({"": tfidf(["note"] * 60, ["note"] * 20)}, train, test)
    assert found["decodable_topic"].mean() == pytest.approx(1 / 2)


@pytest.mark.parametrize("texts", [["", " "] * 18, [f"n{row}" for row in range(36)]])
def test_texts_without_a_common_word_are_at_chance(texts: list[str]):
    train, test = known(36), known(9)
    found = decoded({"": tfidf(texts, names(test))}, train, test)
    assert found["decodable_topic"].mean() == pytest.approx(1 / 3)


def test_a_single_training_document_needs_no_folds():
    train = [one._replace(doc_id="000") for one in known(12)]
    found = decoded({"": tfidf(names(train), names(known(9)))}, train, known(9))
    assert found["decodable_topic"].mean() == pytest.approx(1)


def test_a_fold_may_hold_one_class():
    train = [one._replace(doc_id=str(one.topic)) for one in known(12, ("music", "kings"))]
    test = known(8, ("music", "kings"))
    found = decoded({"": tfidf(names(train), names(test))}, train, test)
    assert found["decodable_topic"].mean() == pytest.approx(1)


def test_the_share_of_what_the_activation_holds():
    nothing = float("nan")
    values = {
        "decodable_topic": [1.0, 0.5, 1.5, 0.0],
        "decodable_topic_shuffled": [0.5, 0.5, 0.0, 0.0],
        "decodable_topic_own_activation": [1.0, 1.0, 1.0, 0.0],
        "decodable_syntax": [1.0, 1.0, nothing, nothing],
        "decodable_syntax_shuffled": [0.0, 0.0, nothing, nothing],
        "decodable_syntax_own_activation": [0.5, 0.5, nothing, nothing],
        "decodable_ordinal": [1.0, 1.0, 1.0, 1.0],
        "decodable_ordinal_shuffled": [0.2] * 4,
        "decodable_ordinal_own_activation": [0.2] * 4,
    }
    found = shares({name: np.array(rows) for name, rows in values.items()})
    # Topic: (.75 - .25) / (.75 - .25) = 1; syntax: 1 / .5 = 2; nothing of ordinal is in h.
    assert found.mean() == pytest.approx((1 + 2) / 2)
    # First row: topic (1 - .25) / .5 = 1.5, syntax 2 for twice as many rows, of two labels.
    assert found[0] == pytest.approx((1.5 + 2 * 2) / 2)
    del values["decodable_topic"], values["decodable_syntax"]
    assert np.isnan(shares({name: np.array(rows) for name, rows in values.items()})).all()


def test_activations_are_standardised_by_those_of_training():
    found = standardised(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[4.0, 9.0]]))
    assert found.train.tolist() == [[-1, 0], [1, 0]]
    assert found.test.tolist() == [[2, 0]]


def test_the_activation_is_a_ceiling():
    torch.manual_seed(0)
    train, test, places = known(60), known(30), torch.randn(3, 16)
    both = [
        torch.stack([places[TOPICS.index(str(one.topic))] for one in rows])
        for rows in (train, test)
    ]
    features = {
        "": Features(np.zeros((60, 1)), np.zeros((30, 1)), (1.0,)),
        "own_activation": standardised(*both),
    }
    found = decoded(features, train, test)
    assert found["decodable_topic_own_activation"].mean() == pytest.approx(1)
    assert found["decodable_topic"].mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("with_training", [True, False])
def test_the_measures_of_a_run(held_out: TestSet, with_training: bool):
    texts = held_out.table[TEACHER].to_list()
    written = held_out.trunk.explanations(TEACHER).select(KEY, DOC_ID, SPLIT, EXPLANATION)
    if not with_training:
        written = written.filter(pl.col(SPLIT) != AR_SFT)
    found = decodable_measures(Spoken(held_out, None, lambda _: None, texts, 0, written))
    assert found["value"].is_finite().all()
    dropped = found.filter(pl.col("measure").str.ends_with("_dropped"))
    assert set(dropped["measure"]) == {f"decodable_{label}_dropped" for label in LABELS}
    for label in LABELS:
        left_out = dropped.filter(measure=f"decodable_{label}_dropped")
        rows = found.filter(measure=f"decodable_{label}")
        assert left_out.height == held_out.table.height
        assert rows.height == (left_out["value"] == 0).sum()
    if not with_training:
        assert dropped["value"].min() == 1
        return
    means = dict(found.group_by("measure").agg(pl.col("value").mean()).iter_rows())
    assert means["decodable_topic"] > 0.6 > means["decodable_topic_shuffled"]
    assert {"decodable_syntax_own_activation", "decodable_syntax_source_text"} <= means.keys()
    assert {known_of(held_out.trunk, held_out.keys)[0][0].doc_id} <= set(found["cluster"])
