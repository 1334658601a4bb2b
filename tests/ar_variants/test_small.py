from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ar_variants import small
from ar_variants.small import (
    BagOfWordsReconstructor,
    LowRankReconstructor,
    ShallowReconstructor,
    start_at_probe,
)
from common.errors import NlaError
from common.metrics.fve import normalize, normalized_mse
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.schema import TokenBatch, readings_of
from common.target.load import Target

RANK = 5
TEXTS = ["On rivers, cold and deep.", 'Ends with "the shore"; next may be "of", "in".', "Music."]


@pytest.fixture(scope="module")
def activations() -> Tensor:
    return 30 * torch.randn(40, 64, generator=torch.Generator().manual_seed(0)) + 10


@pytest.fixture
def low_rank(target: Target, activations: Tensor) -> LowRankReconstructor:
    return LowRankReconstructor(target.model, target.tokenizer, 3, 96, RANK, activations).eval()


@pytest.fixture
def shallow(target: Target) -> ShallowReconstructor:
    return ShallowReconstructor(target.model, target.tokenizer, 2, 96).eval()


@pytest.fixture
def bag(target: Target, activations: Tensor) -> BagOfWordsReconstructor:
    torch.manual_seed(0)
    mean = normalize(activations).mean(0)
    return BagOfWordsReconstructor(target.model, target.tokenizer, 96, 32, mean).eval()


def train(model: Reconstructor, activations: Tensor) -> None:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    tokens = model.encode(readings_of(TEXTS))
    for _ in range(3):
        loss = model.loss_terms(model(tokens), activations[: len(TEXTS)])["mse"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def dimensions(model: Any, texts: list[str]) -> int:
    outputs = model(model.encode(readings_of(texts)))
    return int(torch.linalg.matrix_rank(outputs - outputs.mean(0), atol=1e-3))


def test_a_rank_beyond_the_activations_is_refused(target: Target, activations: Tensor):
    with pytest.raises(NlaError, match=r"rank 41.*at most 40"):
        LowRankReconstructor(target.model, target.tokenizer, 3, 96, 41, activations)


def test_low_rank_outputs_stay_in_their_subspace_before_and_after_training(
    low_rank: LowRankReconstructor, activations: Tensor
):
    texts = [f"Text number {number}." for number in range(20)]
    assert dimensions(low_rank, texts) == RANK
    train(low_rank, activations)
    assert dimensions(low_rank, texts) == RANK
    wide = TruncatedReconstructor(low_rank_source(low_rank), low_rank.tokenizer, 3, 96).eval()
    assert dimensions(wide, texts) > RANK


def low_rank_source(model: LowRankReconstructor) -> Any:
    """A causal LM around the decoder that the low-rank AR trains."""
    return type("Model", (), {"get_decoder": lambda _: model.decoder})()


@torch.no_grad()
def test_a_low_rank_head_starts_at_the_best_subspace_around_the_mean(
    low_rank: LowRankReconstructor, activations: Tensor
):
    directions = normalize(activations)
    mean = directions.mean(0)
    principal = torch.linalg.svd(directions - mean).Vh[:RANK]
    tokens = low_rank.encode(readings_of(TEXTS))
    expected = mean + low_rank.last_state(tokens) @ principal.T @ principal
    assert torch.allclose(low_rank(tokens), expected, atol=1e-4)


@torch.no_grad()
def test_a_bag_of_words_cannot_see_order(bag: BagOfWordsReconstructor, activations: Tensor):
    with torch.enable_grad():
        train(bag, activations)
    tokens = bag.encode(readings_of(TEXTS))
    reversed_ids = torch.stack(
        [
            torch.cat([ids[mask].flip(0), ids[~mask]])
            for ids, mask in zip(tokens.ids, tokens.mask, strict=True)
        ]
    )
    found = bag(tokens)
    assert torch.allclose(bag(TokenBatch(reversed_ids, tokens.mask)), found, atol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=0.1)


@torch.no_grad()
def test_padding_is_no_word(bag: BagOfWordsReconstructor, activations: Tensor):
    with torch.enable_grad():
        train(bag, activations)
    alone = torch.cat([bag(bag.encode(readings_of([text]))) for text in TEXTS])
    assert torch.allclose(bag(bag.encode(readings_of(TEXTS))), alone, atol=1e-4)


@torch.no_grad()
def test_a_bag_of_words_starts_at_the_mean_with_frozen_embeddings(
    bag: BagOfWordsReconstructor, activations: Tensor
):
    mean = normalize(activations).mean(0)
    assert torch.allclose(bag(bag.encode(readings_of(TEXTS))), mean.expand(3, -1), atol=1e-6)
    frozen = [name for name, p in bag.named_parameters() if not p.requires_grad]
    assert frozen == ["embed.weight"]


@torch.no_grad()
def test_a_shallow_ar_attends_to_the_whole_explanation_and_never_to_padding(
    shallow: ShallowReconstructor,
) -> None:
    """With one query that is zero, the second part is the mean of the states it may attend to."""
    shallow.queries.zero_()
    tokens = shallow.encode(readings_of(TEXTS))
    together = shallow.last_state(tokens)
    states, mask = shallow.states(tokens)
    width = states.shape[-1]
    for row, text in enumerate(TEXTS):
        real = states[row][mask[row]]
        assert len(real) > len(shallow.template.after)
        assert torch.allclose(together[row, :width], real[-1], atol=1e-4)
        for part in together[row, width:].split(width):
            assert torch.allclose(part, real.mean(0), atol=1e-4)
        alone, _ = shallow.states(shallow.encode(readings_of([text])))
        assert torch.allclose(alone[0, -len(real) :], real, atol=1e-4)


@torch.no_grad()
def test_a_shallow_ar_is_noisy_in_training_alone(shallow: ShallowReconstructor) -> None:
    tokens = shallow.encode(readings_of(TEXTS))
    assert torch.equal(shallow(tokens), shallow(tokens))
    shallow.train()
    assert shallow.noisy_in_training
    assert not torch.allclose(shallow(tokens), shallow(tokens), atol=1e-2)


def test_the_queries_of_a_shallow_ar_learn(
    shallow: ShallowReconstructor, activations: Tensor
) -> None:
    before = shallow.queries.detach().clone()
    train(shallow, activations)
    assert (shallow.queries != before).any(dim=1).all(), "every query"


def test_variants_leave_the_target_as_it_is(
    target: Target,
    low_rank: LowRankReconstructor,
    bag: BagOfWordsReconstructor,
    activations: Tensor,
):
    before = {name: tensor.clone() for name, tensor in target.model.state_dict().items()}
    train(low_rank, activations)
    train(bag, activations)
    after = target.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_a_narrow_ar_can_be_centred(low_rank: LowRankReconstructor, activations: Tensor) -> None:
    truth = activations[: len(TEXTS)]
    low_rank.prepare(readings_of(TEXTS), truth, TEXTS)
    with torch.no_grad():
        mean = low_rank(low_rank.encode(readings_of(TEXTS))).mean(0)
    cosine = torch.nn.functional.cosine_similarity(mean, normalize(truth).mean(0), dim=0)
    assert cosine == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_a_probe_is_the_ridge_regression_of_its_penalty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "PENALTIES", (2.0,))
    generator = torch.Generator().manual_seed(0)
    features, truth = torch.randn(50, 4, generator=generator), torch.randn(50, 6)
    head = nn.Linear(4, 6)
    start_at_probe(head, features, truth, [str(row) for row in range(50)])
    x, y = features - features.mean(0), normalize(truth) - normalize(truth).mean(0)
    penalty = 2 * 50 * features.var(0, correction=0).mean()
    scale = features.norm(dim=1).mean() / 6**0.5
    expected = scale * torch.linalg.solve(x.T @ x + penalty * torch.eye(4), x.T @ y).T
    torch.testing.assert_close(head.weight.data, expected, rtol=1e-4, atol=1e-5)
    mean = head(features.mean(0))
    torch.testing.assert_close(mean, scale * normalize(truth).mean(0), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_probe_is_not_misled_by_two_texts_of_one_document() -> None:
    """Noise that comes twice, once per text, looks like something to learn from unless both go."""
    generator = torch.Generator().manual_seed(0)
    noise, truth = (torch.randn(30, 40, generator=generator).repeat(2, 1) for _ in range(2))
    weights = {}
    for name, documents in {
        "together": [str(row % 30) for row in range(60)],
        "apart": [str(row) for row in range(60)],
    }.items():
        head = nn.Linear(40, 40)
        start_at_probe(head, noise, truth, documents)
        weights[name] = float(head.weight.norm())
    assert weights["together"] < 0.2 * weights["apart"]


@pytest.mark.parametrize("kind", ["shallow", "bag"])
def test_an_ar_that_starts_at_a_probe_has_learned_before_it_trains(
    kind: str, request: pytest.FixtureRequest
) -> None:
    words = ["river", "song", "bridge", "war", "cell", "tax"]
    texts = [f"It is about a {words[number % 6]}, part {number}." for number in range(48)]
    kinds = 30 * torch.randn(6, 64, generator=torch.Generator().manual_seed(1))
    truth = kinds[torch.arange(48) % 6]
    model: Reconstructor = request.getfixturevalue(kind)
    before = error(model, texts[36:], truth[36:])
    of_others = error(model, texts[36:], truth[35:47])
    assert abs(before - of_others) < 0.2, "an untrained AR knows nothing"
    model.prepare(readings_of(texts[:36]), truth[:36], texts[:36])
    assert error(model, texts[36:], truth[36:]) < 0.5 * before


@torch.no_grad()
def error(model: Reconstructor, texts: list[str], activations: Tensor) -> float:
    return float(normalized_mse(model(model.encode(readings_of(texts))), activations))
