from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from ar_variants.input_aware.axis import (
    WINDOWS,
    Alike,
    Parts,
    WindowAxis,
    above_chance,
    gains,
    parts_of,
    rows_of,
    said_in,
    shares,
    side_by_side,
    similar_words,
    single_tokens,
    split_at,
)
from common.data.near_words import NearWords
from common.evaluation.decodable import LABELS, Features, predicted, tfidf
from common.evaluation.known import Known
from common.profile import Profile
from common.report.results import MEASURES_SCHEMA
from common.schema import AV, DOC_ID, KEY, TEACHER
from common.target.load import Target
from common.target.text import encode_document
from tests.arms.made import arm_named

REST, WINDOW = "The old harbour town lies by a lake", "near the hills"
SAYS = 'Ends with "the hills". A harbour beside a pond, music.'
PARTS = ("visible", "hidden")
ALIKE: Alike = {"pond": {"lake", "river"}, "music": {"songs"}, "ends": {"hills"}}
WORD_MEASURES = [f"{kind}{part}" for kind in ("", "near_", "quoted_") for part in PARTS]


def parts(window: str = WINDOW, rest: str = REST) -> Parts:
    return parts_of(window, rest, f"{rest} {window}")


def test_the_shares_by_hand():
    # Content: ends, hills, harbour, pond, music; of these ends, pond and music are not in the text.
    assert shares(said_in(SAYS), parts(), ALIKE) == {
        "visible": 1 / 5,
        "hidden": 1 / 5,
        "near_visible": 1 / 3,
        "near_hidden": 1 / 3,
        "quoted_visible": 1.0,
        "quoted_hidden": 0.0,
    }


def test_another_explanation_in_the_same_input_is_subtracted():
    said = [said_in(SAYS), said_in('A "lake" and a town, old songs.')]
    inputs = [parts(), parts("more songs", "They sing")]
    found = above_chance(said, [1, 0], inputs, ALIKE)
    # The other says lake, town, old, songs: of the first input none in the window, 3/4 before it.
    assert found["visible"] == pytest.approx([1 / 5 - 0, 1 / 4 - 0])
    assert found["hidden"] == pytest.approx([1 / 5 - 3 / 4, 0])
    assert found["quoted_visible"] == pytest.approx([1 - 0, 0])
    assert found["quoted_hidden"] == pytest.approx([0 - 1, 0])
    # To songs, which only the second window has, one of five words of the first is similar.
    assert found["near_visible"] == pytest.approx([1 / 3 - 0, 0 - 1 / 5])
    assert found["near_hidden"] == pytest.approx([1 / 3 - 0, 0])


def test_a_word_in_both_parts_is_visible_alone():
    both = parts("the lake", "A lake and a pond by")
    assert both.visible == {"the", "lake"}
    assert both.hidden == {"a", "and", "pond", "by"}


def test_a_window_may_begin_inside_a_word():
    found = parts_of("bour town", "The old har", "The old harbour town")
    said = shares(said_in("Harbour, har, bour, ship"), found, {"ship": {"bour"}})
    assert (said["visible"], said["hidden"]) == (1 / 4, 1 / 4)
    assert said["near_visible"] == 1, "the ship alone stands nowhere in the text"


@pytest.mark.parametrize("rest", ["hills, music and a pond, near the", "Ends", "", "\ufffd"])
def test_what_is_hidden_does_not_change_what_is_visible(rest: str):
    said = [said_in(SAYS), said_in('About "the town" and hills')]
    plain = above_chance(said, [1, 0], [parts(), parts()], ALIKE)
    poisoned = above_chance(said, [1, 0], [parts(rest=rest)] * 2, ALIKE)
    for name in ("visible", "quoted_visible"):
        assert poisoned[name].tolist() == plain[name].tolist()
    assert poisoned["hidden"].tolist() != plain["hidden"].tolist()


def test_an_empty_explanation_has_no_row_and_no_zero():
    said = [said_in(text) for text in ("", SAYS, "A pond of hills")]
    assert all(np.isnan(value) for value in shares(said[0], parts(), ALIKE).values())
    found = above_chance(said, [1, 2, 1], [parts()] * 3, ALIKE)
    table = pl.DataFrame({KEY: ["a:1", "b:1", "c:1"], DOC_ID: ["a", "b", "c"]})
    rows = rows_of(table, found)
    assert rows.columns == [KEY, "cluster", "measure", "value"]
    assert set(rows["cluster"]) == {"b", "c"}
    assert rows.filter(measure="visible")["value"].to_list() == pytest.approx([-0.3, 0.3])
    assert rows.filter(measure="quoted_visible").is_empty(), "the third quotes nothing"


def test_an_explanation_of_the_source_alone_has_no_words_to_be_similar():
    said = shares(said_in("hills, lake"), parts(), ALIKE)
    assert np.isnan([said["near_visible"], said["near_hidden"]]).all()
    assert (said["visible"], said["hidden"]) == (1 / 2, 1 / 2)
    assert np.isnan(said["quoted_visible"])


def test_windows_of_a_tokenizer(target: Target):
    ids = encode_document(target.tokenizer, "A lake in the hills")
    (window,), (rest,) = split_at(target.tokenizer, [ids], 2)
    assert rest + window == "A lake in the hills"
    assert window
    assert rest


@pytest.mark.parametrize("more", [0, 1, 1000])
def test_a_window_that_holds_the_whole_text_hides_nothing(target: Target, more: int):
    text = f"{REST} {WINDOW}"
    ids = encode_document(target.tokenizer, text)
    assert split_at(target.tokenizer, [ids], len(ids) + more) == ([text], [""])
    said = [said_in(SAYS), said_in("A lake")]
    found = above_chance(said, [1, 0], [parts_of(text, "", text)] * 2, ALIKE)
    assert found["hidden"].tolist() == [0, 0]
    assert found["visible"].tolist() == [2 / 5 - 1, 1 - 2 / 5]


class Listed:
    """A tokenizer to which each listed word is one token, and all else two."""

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self, texts: list[str], **_: bool) -> dict[str, list[list[int]]]:
        last = len(self.words)
        known = [text.strip() for text in texts]
        return {
            "input_ids": [[self.words.index(w)] if w in self.words else [last] * 2 for w in known]
        }


@pytest.fixture
def near() -> NearWords:
    """Four words of one token, of which no direction is left out."""
    vectors = {
        "river": [1.0, 0.0, 0.0],
        "stream": [0.8, 0.6, 0.0],
        "Norway": [0.0, 0.5, 0.0],
        "music": [0.0, 0.29, 0.957],
        "through": [1.0, 0.0, 0.0],
    }
    tokenizer: Any = Listed([*vectors])
    near = NearWords([f"see {' '.join(vectors)}"] * 3, tokenizer, torch.tensor([*vectors.values()]))
    near.mean, near.shared = torch.zeros(3), torch.zeros(0, 3)
    return near


def test_words_of_one_token_are_similar_from_a_cosine_on(near: NearWords):
    known = {"stream", "river", "norway", "through", "brooks"}
    assert similar_words(near, {"river", "norway", "music", "brooks"}, known) == {
        "river": {"river", "stream"},
        "norway": {"norway", "stream"},
    }, "music and Norway have .29, `through` is a function word, `brooks` has several tokens"
    assert similar_words(near, set(), known) == similar_words(near, known, set()) == {}


def test_a_word_with_a_capital_counts_only_where_the_small_one_is_no_token():
    tokenizer: Any = Listed(["may", "May", "Norway"])
    assert single_tokens(tokenizer, ["may", "norway", "others"]) == {"may": 0, "norway": 2}


def test_similar_are_directions_without_what_common_words_share(near: NearWords):
    near.mean = torch.tensor([0.8, 0.6, 0.0])
    near.shared = torch.tensor([[0.0, 0.0, 1.0]])
    # river: (.2, -.6); Norway: (-.8, -.1); music: (-.8, -.31); stream is the mean
    found = similar_words(near, {"river", "norway", "stream"}, {"music", "norway"})
    assert found == {"norway": {"music", "norway"}}


def known(rows: int, topics: tuple[str | None, ...] = ("music", "rivers", "kings")) -> list[Known]:
    """One position of each document, whose topics take turns."""
    return [
        Known(f"{row:03d}", "A lake in the", (" hills",), topic=topics[row % len(topics)])
        for row in range(rows)
    ]


def named(positions: list[Known]) -> list[str]:
    return [f"A note on {one.topic}, number {row}." for row, one in enumerate(positions)]


def both(view: Features, train: list[Known], test: list[Known]) -> Features:
    return side_by_side(view, tfidf(named(train), named(test)))


def test_what_an_explanation_adds_to_a_window_that_says_nothing():
    train, test = known(36), known(10, ("music", "rivers", "kings", None))
    view = tfidf(["note"] * 36, ["note"] * 10)
    found = gains(view, both(view, train, test), train, test)
    assert found.keys() == {"topic"}, "the other labels have one class"
    alone, added = found["topic"]
    unknown = [one.topic is None for one in test]
    assert np.isnan(alone).tolist() == np.isnan(added).tolist() == unknown
    assert np.nanmean(alone) == pytest.approx(1 / 3)
    assert np.nanmean(added) == pytest.approx(1 - 1 / 3)


def test_an_explanation_adds_nothing_to_a_window_that_tells_all():
    train, test = known(36), known(9)
    view = side_by_side(tfidf(named(train), named(test)))
    alone, added = gains(view, both(view, train, test), train, test)["topic"]
    assert alone.mean() == pytest.approx(1)
    assert added.tolist() == [0] * 9


def test_nothing_to_learn_from():
    test = known(9)
    view = side_by_side(tfidf([], named(test)))
    assert gains(view, both(view, [], test), [], test) == {}


def test_features_side_by_side_are_rotated_and_tell_the_same():
    draw = np.random.default_rng(0)
    train, test = draw.normal(size=(20, 30)), draw.normal(size=(50, 30))
    cut = [Features(train[:, part], test[:, part], (1.0,)) for part in (slice(12), slice(12, 30))]
    found = side_by_side(*cut)
    assert (found.train.shape, found.test.shape) == ((20, 20), (50, 20))
    np.testing.assert_allclose(found.train @ found.train.T, train @ train.T, atol=1e-4)
    np.testing.assert_allclose(found.test @ found.train.T, test @ train.T, atol=1e-4)
    classes, documents = np.array(["a", "b"] * 10), [str(row) for row in range(20)]
    answers = [
        predicted(features, range(20), classes, documents).tolist()
        for features in (found, Features(train, test, (1.0,)))
    ]
    assert answers[0] == answers[1]
    narrow = side_by_side(cut[0])
    np.testing.assert_allclose(narrow.train, train[:, :12], atol=1e-6)


@pytest.mark.usefixtures("warm")
def test_the_measures_of_an_experiment(two_steps: Profile):
    arm = arm_named("ar_small/control", two_steps)
    collected = WindowAxis().collect([arm])
    found = collected.measures
    assert found is not None
    assert found.schema == MEASURES_SCHEMA
    assert set(found["arm"]) == {arm.label}
    assert set(found["seed"]) == set(arm.first_seeds.values())
    assert found["value"].is_finite().all()
    assert not found.select("seed", "key", "measure").is_duplicated().any()
    table = arm.test_set(0).table
    assert set(found["key"]) <= set(table[KEY])
    assert set(found["cluster"]) <= set(table[DOC_ID])

    columns = ("key", "measure", "value")
    taught = found.filter(pl.col("measure").str.contains("teacher|view"))
    pairs = [part.select(columns) for part in taught.partition_by("seed", maintain_order=True)]
    assert len(pairs) == two_steps.warm_starts
    assert all(pair.equals(pairs[0]) for pair in pairs), "the teacher's are those of every pair"

    named = [f"adds_{label}" for label in LABELS]
    allowed = {
        f"{measure}_{writer}_{width}"
        for measure in (*WORD_MEASURES, *named)
        for writer in (TEACHER, AV)
        for width in WINDOWS
    } | {f"decodable_view_{label}_{width}" for label in LABELS for width in WINDOWS}
    assert set(found["measure"]) <= allowed
    for width in WINDOWS:
        assert {f"visible_teacher_{width}", f"hidden_teacher_{width}"} <= set(found["measure"])
        view = found.filter(measure=f"decodable_view_topic_{width}")
        assert (
            view["key"].to_list()
            == found.filter(measure=f"adds_topic_teacher_{width}")["key"].to_list()
        )
    means = dict(found.group_by("measure").agg(pl.col("value").mean()).iter_rows())
    assert means["visible_teacher_16"] > 0.05, "the teacher quotes the end of the text"
    assert means["quoted_visible_teacher_16"] > 0.1
    assert means["hidden_teacher_1"] > means["hidden_teacher_64"]
