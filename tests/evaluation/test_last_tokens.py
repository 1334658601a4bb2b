"""Readers of the last tokens: the stage, and what it is made of."""

import polars as pl
import pytest
import torch

from common.errors import NlaError
from common.evaluation import last_tokens
from common.evaluation.last_tokens import (
    COUNTS,
    Answers,
    expects,
    last_token_features,
    next_token_features,
    tails,
    tails_of,
)
from common.evaluation.word_vectors import WordVectors
from common.manifest import read_manifest
from common.metrics.fve import fve, normalize, squared_errors, variance
from common.paths import TrunkPlaces
from common.profile import Profile
from common.schema import DEV, KEY, SPLIT, TEST, TOKEN_IDS, readings_of
from common.stages.run import run_stage
from common.target.load import Target
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.families import tiny_family

BLOCKS = {f"own_blocks_last_{count}{kind}" for count in COUNTS for kind in ("", "_linear")}

READERS = {"last_token", "next_tokens", "own_blocks"} | BLOCKS


def test_every_dev_and_test_activation_is_answered_by_every_reader(trunk: Trunk):
    table = trunk.last_tokens
    asked = trunk.activations([DEV, TEST], [KEY, SPLIT])
    assert table.select(KEY, SPLIT).sort(KEY).equals(asked.sort(KEY))
    assert set(table.columns) == {KEY, SPLIT} | READERS
    for name in READERS:
        assert table.schema[name] == pl.Array(pl.Float16, 64)
    rows = read_manifest(trunk.places.last_tokens, "last_tokens")["fitted_to"]
    assert rows["last_token"] == rows["own_blocks_last_4_linear"] == len(trunk.training_activations)


def test_more_tokens_tell_more_and_all_in_units_of_directions(trunk: Trunk):
    answers, table = tails_of(trunk), trunk.last_tokens.filter(split=TEST)
    keys = table[KEY].to_list()
    truth, scores = trunk.store[keys], {}
    for name in answers.vectors:
        errors = squared_errors(answers.for_keys(name, keys), truth)
        scores[name] = fve(errors, variance(truth, trunk.mean))
    raw = [scores[f"own_blocks_last_{count}"] for count in COUNTS]
    assert max(raw[:-1]) < raw[-1], "random blocks forget little"
    assert scores["own_blocks"] > 0.999
    for count in COUNTS:
        own = answers.for_keys(f"own_blocks_last_{count}", keys)
        assert torch.allclose(own.norm(dim=1), torch.full((len(keys),), 8.0), atol=0.01)


def test_a_last_token_decides_its_answer(trunk: Trunk):
    ids = trunk.activations([TEST], [KEY, TOKEN_IDS])
    last = dict(zip(ids[KEY], ids[TOKEN_IDS].list.last(), strict=True))
    answers = tails_of(trunk)
    by_token: dict[int, torch.Tensor] = {}
    for key, token in last.items():
        found = answers.for_keys("last_token", [key])
        assert torch.equal(by_token.setdefault(token, found), found)
    assert len(by_token) > 3


def test_answers_are_found_by_key():
    answers = Answers.of(["a", "b"], {"one": torch.tensor([[1.0], [2.0]])})
    assert answers.reader("one")(readings_of(["b", "a", "b"])).tolist() == [[2], [1], [2]]


def test_embeddings_are_those_of_the_input_where_the_head_has_others(target: Target):
    untied = tiny_family("llama", tie_word_embeddings=False)
    own = untied.model.get_input_embeddings().weight
    assert not torch.equal(own, untied.model.get_output_embeddings().weight)
    rows = pl.DataFrame({TOKEN_IDS: [[5, 9], [7]]})
    assert torch.equal(last_token_features(WordVectors(untied), rows), own[[9, 7]])


def test_next_tokens_weigh_as_they_are_probable(target: Target):
    vectors = WordVectors(target)
    [[river], [lake]] = target.tokenizer([" r", " l"], add_special_tokens=False)["input_ids"]
    rows = pl.DataFrame(
        {"next_tokens": [[" r", " l", " r"], [], [""]], "next_probs": [[0.5, 0.2, 0.1], [], [0.9]]}
    )
    found = next_token_features(vectors, rows)
    expected = 0.6 * vectors.table[river] + 0.2 * vectors.table[lake]
    assert torch.allclose(found[0], expected, atol=1e-6)
    assert (found[1:] == 0).all()


def test_what_the_target_expects_may_not_have_been_read():
    unread = pl.DataFrame({"next_tokens": pl.Series([[], []], dtype=pl.List(pl.String))})
    assert not expects(unread)
    assert not expects(unread.clear())
    assert expects(pl.DataFrame({"next_tokens": [[], ["a"]]}))


def test_linear_maps_are_fitted_to_some_rows_of_documents_drawn_by_key(
    trunk: Trunk, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(last_tokens, "MOST_ROWS", 31)
    table, rows = tails(trunk)
    assert rows["own_blocks_last_1_linear"] == 31
    assert rows["last_token"] == len(trunk.training_activations)
    again, _ = tails(trunk)
    assert table.equals(again)
    assert not table.equals(trunk.last_tokens)


def test_a_table_of_other_activations_is_refused_and_one_up_to_date_left_alone(
    copied_places: TrunkPlaces, smoke: Profile
):
    choice = choose_trunk(smoke)
    before = copied_places.last_tokens.stat().st_mtime_ns
    run_stage("last_tokens", choice)
    assert copied_places.last_tokens.stat().st_mtime_ns == before
    manifest = copied_places.activations / "manifest.json"
    digest = read_manifest(copied_places.activations, "activations")["digest"]
    manifest.write_text(manifest.read_text().replace(digest, "another"))
    with pytest.raises(NlaError, match=r"activations is .* expected 'another'.*repro last_tokens"):
        _ = Trunk(choice).last_tokens


def test_training_activations_of_one_document_are_refused(
    trunk: Trunk, monkeypatch: pytest.MonkeyPatch
):
    whole = Trunk.activations

    def one_document(self: Trunk, *asked: object, **named: object) -> pl.DataFrame:
        found = whole(self, *asked, **named)  # pyright: ignore[reportArgumentType]
        return found.with_columns(doc_id=pl.lit("a")) if "doc_id" in found.columns else found

    monkeypatch.setattr(Trunk, "activations", one_document)
    with pytest.raises(NlaError, match="chosen by document"):
        tails(trunk)


def test_normalised_states_are_what_a_linear_map_reads(trunk: Trunk):
    """Else a single long state would decide it."""
    answers, keys = tails_of(trunk), trunk.last_tokens[KEY].to_list()[:4]
    own = answers.for_keys("own_blocks_last_1", keys)
    assert torch.allclose(own, normalize(own), atol=0.01)
