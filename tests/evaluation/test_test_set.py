"""What runs are tested on."""

import pytest
import torch

from common.config import EvaluationConfig
from common.data.batches import Example
from common.evaluation.conditions import ORIGINAL, SOURCE_TEXT
from common.evaluation.test_set import TestSet
from common.evaluation.trunk_floors import ceiling, fit_floors, floors_made_of
from common.profile import Profile
from common.schema import AV, KEY, SPLIT, TEACHER, TEST, TOPIC
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
    found = fit_floors(trunk, [Example(key, f"word{number}") for number, key in enumerate(keys)])
    assert set(found.readers) == {"mean_direction", "embedding_ridge"}
    assert found.missing == {"tfidf_ridge": f"no word stands in two of the {len(keys)} texts"}


def test_the_ceiling_is_the_targets_own_answer_beside_each_writer(held_out: TestSet):
    rows = ceiling(held_out, [TEACHER, AV])
    assert set(rows["arm"]) == {"own_blocks"}
    assert rows.group_by("source").len()["len"].to_list() == [len(held_out.keys)] * 2
    assert rows["cosine"].min() > 0.999, "its own blocks give the activation back"


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
