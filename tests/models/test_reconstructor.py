from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from common.data.activations import vectors_of
from common.evaluation.test_set import TestSet
from common.metrics.fve import fve, normalize, squared_errors, training_mean, variance
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.schema import (
    AR_SFT,
    DOC_ID,
    EXPLANATION,
    KEY,
    TEACHER,
    TEST,
    TOKEN_IDS,
    TokenBatch,
    readings_of,
)
from common.target.load import Target, load_target
from common.target.tiny_corpus import tiny_documents
from common.trunk.artefacts import Trunk

LAPTOP_TARGET = Path(__file__).parents[2] / "data" / "laptop" / "target"
LAYER = 8
TRAIN_DEV = range(10, 22), range(30, 36)
TEXTS = ["On rivers, cold and deep.", 'Ends with "the shore"; next may be "of", "in".', "Music."]


def batch_of(rows: list[list[int]], padding: int = 0) -> TokenBatch:
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(row) for row in rows])
    return TokenBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])


@pytest.fixture
def make(target: Target) -> Callable[..., TruncatedReconstructor]:
    def build(blocks: int = LAYER + 1, limit: int = 96) -> TruncatedReconstructor:
        return TruncatedReconstructor(target.model, target.tokenizer, blocks, limit).eval()

    return build


@torch.no_grad()
def score(model: Reconstructor, tokens: TokenBatch, activations: Tensor, mean: Tensor) -> float:
    return fve(squared_errors(model(tokens), activations), variance(activations, mean))


def test_the_targets_own_first_blocks_give_the_activation_back(make: Any, trunk: Trunk):
    table = trunk.activations([TEST])
    tokens, activations = batch_of(table[TOKEN_IDS].to_list()), vectors_of(table, LAYER)
    scores = {
        blocks: score(make(blocks), tokens, activations, trunk.mean)
        for blocks in (LAYER, LAYER + 1, LAYER + 2)
    }
    assert scores[LAYER + 1] > 0.999
    assert max(scores[LAYER], scores[LAYER + 2]) < 0.95, "one block off must be seen"
    with torch.no_grad():
        found = make()(tokens)
    assert torch.allclose(found, activations, atol=1e-4), "directions alone hide a final norm"


@pytest.mark.slow
@pytest.mark.skipif(
    not LAPTOP_TARGET.exists(), reason="run `dvc repro target` at the laptop profile"
)
def test_the_first_blocks_of_the_real_target_give_the_activation_back():
    target, layer = load_target(LAPTOP_TARGET), 15
    rows, activations = [], []
    for document, _ in zip(tiny_documents(), range(24), strict=False):
        ids = target.tokenizer.encode(document["text"], add_special_tokens=False)[:64]
        with torch.no_grad():
            states = target.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        rows.append(ids)
        activations.append(states[layer + 1][0, -1])
    mean, held_out = training_mean(torch.stack(activations[:12])), torch.stack(activations[12:])
    scores = {
        blocks: score(
            TruncatedReconstructor(target.model, target.tokenizer, blocks, 96).eval(),
            batch_of(rows[12:]),
            held_out,
            mean,
        )
        for blocks in (layer, layer + 1)
    }
    assert scores[layer + 1] > 0.999
    assert scores[layer] < 0.99


@torch.no_grad()
def test_batched_is_one_by_one(make: Any):
    model = make()
    alone = torch.cat([model(model.encode(readings_of([text]))) for text in TEXTS])
    assert torch.allclose(model(model.encode(readings_of(TEXTS))), alone, atol=1e-5)


@torch.no_grad()
def test_right_padding_is_irrelevant(make: Any):
    model = make()
    tokens = model.encode(readings_of(TEXTS))
    ids, mask = functional.pad(tokens.ids, (0, 9), value=7), functional.pad(tokens.mask, (0, 9))
    assert torch.allclose(model(TokenBatch(ids, mask)), model(tokens), atol=1e-5)
    refilled = torch.where(tokens.mask, tokens.ids, torch.tensor(11))
    assert torch.allclose(model(TokenBatch(refilled, tokens.mask)), model(tokens), atol=1e-5)


@torch.no_grad()
def test_the_head_is_the_identity_at_the_start(make: Any):
    model = make()
    tokens = model.encode(readings_of(TEXTS))
    assert torch.allclose(model(tokens), model.last_state(tokens), atol=1e-6)


def test_the_template_surrounds_the_explanation_and_survives_the_cut(make: Any, target: Target):
    model = make(limit=5)
    tokens = model.encode(readings_of(["Music.", "word " * 100]))
    short, long = (row[kept].tolist() for row, kept in zip(*tokens, strict=True))
    assert (
        target.tokenizer.decode(short)
        == "Summary of the following text: <text>Music.</text> <summary>"
    )
    after = list(model.template.after)
    assert long[-len(after) :] == after
    assert len(long) == len(model.template.before) + 5 + len(after)


def test_an_ar_copies_the_target_and_trains_all_but_the_embeddings(make: Any, target: Target):
    model = make(3)
    assert len(model.decoder.layers) == model.decoder.config.num_hidden_layers == 3
    assert len(target.model.model.layers) == target.model.config.num_hidden_layers == 12
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == ["decoder.embed_tokens.weight"]
    with torch.no_grad():
        model.decoder.layers[0].mlp.up_proj.weight.add_(1)
    assert not any(p.requires_grad for p in target.model.parameters())
    own, copied = target.model.model.layers[0], model.decoder.layers[0]
    assert not torch.equal(own.mlp.up_proj.weight, copied.mlp.up_proj.weight)


def test_the_loss_is_twice_one_minus_cosine_whatever_the_scale(make: Any):
    torch.manual_seed(0)
    predictions, activations = torch.randn(4, 64), torch.randn(4, 64)
    terms = make(1).loss_terms(1000 * predictions, activations)
    cosine = functional.cosine_similarity(predictions, activations).mean()
    assert list(terms) == ["mse"]
    assert float(terms["mse"]) == pytest.approx(2 * (1 - float(cosine)), abs=1e-5)


def fit(model: Reconstructor, texts: list[str], activations: Tensor, steps: int) -> None:
    tokens = model.encode(readings_of(texts))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(steps):
        loss = model.loss_terms(model(tokens), activations)["mse"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_an_ar_overfits_eight_pairs(make: Any, trunk: Trunk):
    table = trunk.explanations(TEACHER).filter(split=AR_SFT).unique(DOC_ID).sort(KEY).head(8)
    texts, activations = table[EXPLANATION].to_list(), trunk.store[table[KEY].to_list()]
    model, mean = make(), training_mean(activations)
    assert score(model, model.encode(readings_of(texts)), activations, mean) < 0
    fit(model, texts, activations, steps=30)
    assert score(model, model.encode(readings_of(texts)), activations, mean) > 0.9


def documents_on(topics: dict[str, Tensor], copies: range) -> tuple[list[str], Tensor]:
    """Texts that name their topic among other words; activations near the topic's direction."""
    texts = [f"Number {copy}: text on {topic}." for copy in copies for topic in topics]
    directions = torch.stack([topics[topic] for _ in copies for topic in topics])
    return texts, directions + 0.3 * torch.randn_like(directions)


def test_true_labels_teach_about_other_documents_and_shuffled_ones_do_not(make: Any):
    torch.manual_seed(0)
    topics = {name: torch.randn(64) for name in ("geography", "biology", "music", "history")}
    (texts, activations), (dev_texts, dev) = (documents_on(topics, copies) for copies in TRAIN_DEV)
    scores = {}
    for name, labels in {
        "true": activations,
        "shuffled": activations[torch.randperm(len(activations))],
    }.items():
        model = make(4)
        fit(model, texts, labels, steps=40)
        tokens = model.encode(readings_of(dev_texts))
        scores[name] = score(model, tokens, dev, training_mean(activations))
    assert scores["true"] > 0.5
    assert scores["shuffled"] <= 0


def test_a_centred_ar_answers_the_mean_activation_on_the_average(make: Any, trunk: Trunk):
    activations = trunk.store[TestSet(trunk).keys[: len(TEXTS)]]
    model = make()
    before = model(model.encode(readings_of(TEXTS))).norm(dim=1).mean()
    model.prepare(readings_of(TEXTS), activations, TEXTS)
    with torch.no_grad():
        answers = model(model.encode(readings_of(TEXTS)))
    wanted = before / activations.shape[1] ** 0.5 * normalize(activations).mean(0)
    torch.testing.assert_close(answers.mean(0), wanted, rtol=0, atol=1e-4)
    assert torch.equal(model.head.weight, torch.eye(len(wanted))), "still the identity"
