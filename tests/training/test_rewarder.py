from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from common.models.reconstructor import TruncatedReconstructor
from common.rollout.reading import reconstruct
from common.schema import Reading, readings_of
from common.training.rewarder import Ensemble, FrozenReader, Lagged
from tests.training.runs import pair

TEXTS = readings_of(["a song", "moss and bread", "the law of the valley"])


@pytest.fixture
def learning(target_folder: Path) -> TruncatedReconstructor:
    return pair(target_folder)[1]


def learn(model: TruncatedReconstructor, amount: float) -> None:
    """Every trainable weight grows by so much."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += amount


def biases(model: TruncatedReconstructor, lagged: Lagged) -> tuple[float, float]:
    """Where the last bias of the AR and of its copy stand: they begin at 0."""
    copied = lagged.reader.model.last_bias
    assert copied is not None
    return model.head.bias[0].item(), copied[0].item()


def test_a_copy_is_refreshed_every_so_many_rollouts(learning: TruncatedReconstructor):
    lagged = Lagged(learning, "32-true", every=2)
    seen = []
    for number in range(4):
        learn(learning, 1.0)
        lagged.before_rollout(number)
        seen.append(biases(learning, lagged))
    assert seen == [(1, 1), (2, 1), (3, 3), (4, 3)]


def test_an_average_goes_a_share_of_the_way(learning: TruncatedReconstructor):
    lagged = Lagged(learning, "32-true", share=0.25)
    learn(learning, 1.0)
    lagged.before_rollout(0)
    assert biases(learning, lagged) == (1, 0.25)
    lagged.before_rollout(1)
    assert biases(learning, lagged) == (1, 0.4375)


def test_the_copy_reads_as_the_ar_read_then(learning: TruncatedReconstructor):
    lagged, before = Lagged(learning, "32-true"), reconstruct(learning, TEXTS, 8, "32-true")
    learn(learning, 0.1)
    assert not torch.allclose(reconstruct(learning, TEXTS, 8, "32-true"), before, atol=1e-2)
    torch.testing.assert_close(lagged(TEXTS)[0], before, rtol=0, atol=1e-5)


def test_what_does_not_learn_is_not_copied(learning: TruncatedReconstructor):
    lagged = Lagged(learning, "32-true")
    copied = dict(lagged.reader.model.named_parameters())
    for name, parameter in learning.named_parameters():
        assert (copied[name] is parameter) == (not parameter.requires_grad)
    assert not any(parameter.requires_grad for parameter in lagged.parameters())


def test_a_copy_comes_back_from_its_state(learning: TruncatedReconstructor):
    lagged, other = (Lagged(learning, "32-true", share=0.5) for _ in range(2))
    learn(learning, 1.0)
    lagged.before_rollout(0)
    kept = {name: value for name, value in lagged.state_dict().items() if "extra" in name}
    other.load_state_dict(kept, strict=False)
    assert torch.equal(other(TEXTS)[0], lagged(TEXTS)[0])
    assert biases(learning, other) == (1, 0.5)


def test_an_ensemble_is_of_any_readers(learning: TruncatedReconstructor):
    def lengths(readings: Sequence[Reading]) -> Tensor:
        return torch.tensor([[float(len(reading.text))] for reading in readings])

    ensemble = Ensemble(FrozenReader(learning, "32-true"), lengths)
    one, other = ensemble(TEXTS)
    assert one.shape == (3, 64)
    assert other.tolist() == [[6], [14], [21]]
    assert [type(part) for part in ensemble.parts] == [FrozenReader]
    assert isinstance(ensemble, nn.Module)
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
