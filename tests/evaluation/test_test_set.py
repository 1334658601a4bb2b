"""What runs are tested on."""

import polars as pl
import pytest
import torch

from common.config import EvaluationConfig
from common.data.batches import Example
from common.evaluation.conditions import ORIGINAL, SOURCE_TEXT
from common.evaluation.last_tokens import COUNTS
from common.evaluation.test_set import TestSet
from common.evaluation.trunk_floors import (
    fit_floors,
    fit_references,
    floors_made_of,
    reference_rows,
)
from common.evaluation.word_vectors import WordVectors
from common.profile import Profile
from common.schema import AV, DEV, KEY, SPLIT, TEACHER, TEST, TOPIC, TRAINING_SPLITS
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk


def test_the_table_is_of_test_documents_with_the_words_of_both_writers(held_out: TestSet):
    table, trunk = held_out.table, held_out.trunk
    assert table.height == 2 * trunk.profile.activations.documents[TEST]
    assert table[TOPIC].null_count() == 0
    assert held_out.keys == sorted(held_out.keys)
    for source in (TEACHER, AV):
        texts = dict(
            trunk.explanations(source).filter(split=TEST).select(KEY, "explanation").rows()
        )
        assert [texts[key] for key in held_out.keys] == table[source].to_list()
    assert set(trunk.explanations(TEACHER).filter(key=held_out.keys[0])[SPLIT]) == {TEST}


def test_a_profile_may_read_one_activation_of_each_test_document(held_out: TestSet):
    evaluation = held_out.profile.evaluation.replace(positions_per_document=1)
    profile = held_out.profile.replace(evaluation=evaluation)
    once = TestSet(Trunk(choose_trunk(profile)))
    assert once.table.height == once.table["doc_id"].n_unique() == held_out.table.height / 2
    assert set(once.keys) < set(held_out.keys)
    first = {keys[0] for _, keys in held_out.table.group_by("doc_id").agg(KEY).rows()}
    assert 0 < len(set(once.keys) & first) < len(first), "not always the earlier one"
    assert once.unexplained == held_out.unexplained == 0
    assert once.dev.height == held_out.dev.height


def test_denominators_are_those_of_the_method(held_out: TestSet):
    activations, trunk = held_out.judge.activations, held_out.trunk
    assert torch.equal(activations, trunk.store[held_out.keys])
    raw = (activations - trunk.training_activations.mean(0)).square().sum(1).mean()
    directions = activations * (8 / activations.norm(dim=1, keepdim=True))
    fixed = (directions - trunk.mean).square().sum(1).mean()
    assert held_out.variances() == pytest.approx((float(fixed), float(raw)), rel=1e-5)


def test_the_source_text_stands_beside_the_teachers_words_alone(held_out: TestSet):
    taught, said = held_out.conditions_by(TEACHER), held_out.conditions_by(AV)
    assert set(taught) - set(said) == {SOURCE_TEXT}
    assert taught[SOURCE_TEXT] == held_out.source_texts
    assert taught[ORIGINAL] == held_out.table[TEACHER].to_list()
    limit = held_out.profile.ar.max_explanation_tokens
    lengths = [len(held_out.trunk.tokenizer(t)["input_ids"]) for t in held_out.source_texts]
    assert max(lengths) <= limit


def test_conditions_are_one_text_for_each_activation(held_out: TestSet):
    own = [f"text {number}" for number in range(len(held_out.keys))]
    found = held_out.conditions_of(own)
    assert found[ORIGINAL] == own
    assert {len(texts) for texts in found.values()} == {len(own)}


def test_why_a_floor_cannot_be_fitted_is_told(trunk: Trunk):
    keys = [example.key for example in trunk.ar_examples()]
    examples = [Example(key, f"word{number}") for number, key in enumerate(keys)]
    found = fit_floors(trunk, examples, WordVectors(trunk.target))
    assert set(found.readers) == {"mean_direction", "embedding_ridge"}
    reason = f"no word stands in two of the {len(keys)} texts"
    assert found.missing == dict.fromkeys(["tfidf_ridge", "look_up", "nearest_words"], reason)


def test_references_stand_beside_each_writer(held_out: TestSet):
    written = {source: held_out.written_by(source) for source in (TEACHER, AV)}
    references = fit_references(held_out, held_out.trunk.ar_examples())
    assert references.missing == {}
    rows = reference_rows(held_out, references, written)
    own = {f"own_blocks_last_{count}{kind}" for count in COUNTS for kind in ("", "_linear")}
    of_source = {"own_blocks", "last_token", "last_token_few", "next_tokens"} | own
    of_texts = {"mean_direction", "tfidf_ridge", "embedding_ridge", "look_up", "nearest_words"}
    assert set(rows["arm"]) == of_source | of_texts
    counts = rows.group_by("arm", "source").len()["len"]
    assert counts.to_list() == [len(held_out.keys)] * 2 * len(of_source | of_texts)
    beyond = [column for column in rows.columns if column.startswith("error_beyond")]
    assert len(beyond) == 3
    assert rows.select(beyond).null_count().sum_horizontal().item() == 0
    of_ceiling = rows.filter(arm="own_blocks")
    assert of_ceiling["cosine"].min() > 0.999, "its own blocks give the activation back"
    variances = held_out.judge.beyond.variances
    for name, base in (("last_token", "beyond_1"), ("own_blocks_last_4_linear", "beyond_4")):
        errors = rows.filter(arm=name)[f"error_{base}"]
        scored = 1 - errors.mean() / variances[base]
        assert scored == pytest.approx(0, abs=0.02), "a copied base, perhaps normalised"
    for column, variance in variances.items():
        assert of_ceiling[f"error_{column}"].mean() < 0.01 * variance


def test_texts_of_reference_writers_are_of_training_activations(held_out: TestSet):
    found = held_out.references
    taught = held_out.trunk.explanations(TEACHER)
    known = set(taught.filter(pl.col(SPLIT).is_in(TRAINING_SPLITS))["explanation"])
    for texts, table in zip(found["nearest_text"], (held_out.table, held_out.dev), strict=True):
        assert len(texts) == table.height
        assert set(texts) <= known
    listed = found["next_tokens_text"].test[0]
    assert listed.startswith("Next may be ")
    for token in held_out.table["next_tokens"][0]:
        assert f'"{token.strip()}"' in listed or not token.strip()


def test_dev_texts_are_in_the_order_of_the_dev_table(held_out: TestSet):
    keys = held_out.dev["key"].to_list()
    assert len(keys) == 2 * held_out.profile.activations.documents[DEV]
    texts = dict(held_out.trunk.explanations(AV).select("key", "explanation").rows())
    assert held_out.written_by(AV).dev == [texts[key] for key in keys]
    shuffled = held_out.trunk.explanations(AV).sample(fraction=1, shuffle=True, seed=1)
    assert held_out.written_in(shuffled) == held_out.written_by(AV)


def test_floors_are_made_anew_for_other_texts_embedder_or_distractors(smoke: Profile, trunk: Trunk):
    def made_of(**evaluation: object) -> dict:
        changed: EvaluationConfig = smoke.evaluation.replace(**evaluation)
        return floors_made_of(Trunk(choose_trunk(smoke.replace(evaluation=changed))))

    same = made_of()
    assert made_of(resamples=300) == same, "which only reports read"
    assert made_of(distractors=2) != same
    assert made_of(embedder_sha256="0" * 64) != same
    other = floors_made_of(Trunk(choose_trunk(smoke), pair=1))
    assert other["examples"] == same["examples"], "the fixture's AVs wrote the same"
    assert other["av_text"] != same["av_text"]
