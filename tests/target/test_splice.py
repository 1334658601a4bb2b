import pytest
import torch

from common.schema import TokenBatch
from common.target.load import Target
from common.target.residual import read_residual
from common.target.splice import spliced_kl

LAYER = 4
IDS = list(range(40, 60))


def own_activation(target: Target) -> torch.Tensor:
    ids = torch.tensor([IDS])
    place = (torch.tensor([0]), torch.tensor([len(IDS) - 1]))
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))
    return read_residual(target.model, batch, [LAYER], place, 0).activations[LAYER]


def test_the_activation_itself_changes_nothing_whatever_its_length(target: Target):
    own = own_activation(target)
    (kl,) = spliced_kl(target.model, LAYER, [IDS], torch.cat([own, 3 * own])[None])
    assert kl.tolist() == pytest.approx([0, 0], abs=1e-5)


def test_texts_of_any_length_are_read_together_as_alone(target: Target):
    torch.manual_seed(0)
    texts = [list(range(start, start + 17 + 3 * (start % 7))) for start in range(20)]
    reconstructions = torch.randn(len(texts), 2, 64)
    together = spliced_kl(target.model, LAYER, texts, reconstructions)
    alone = [
        spliced_kl(target.model, LAYER, [text], own[None])
        for text, own in zip(texts, reconstructions, strict=True)
    ]
    assert together.min() > 0.001
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_against_a_whole_forward_without_a_cache(target: Target):
    torch.manual_seed(0)
    other = torch.randn(1, 64)
    length = own_activation(target).norm()

    def splice(_module: object, _inputs: object, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.clone()
        hidden[:, -1] = length * other / other.norm()
        return hidden

    ids = torch.tensor([IDS])
    with torch.no_grad():
        before = target.model(ids).logits[0, -1].log_softmax(-1)
        handle = target.model.model.layers[LAYER].register_forward_hook(splice)
        after = target.model(ids).logits[0, -1].log_softmax(-1)
        handle.remove()
    expected = float((before.exp() * (before - after)).sum())
    assert expected > 0.01
    found = float(spliced_kl(target.model, LAYER, [IDS], other[None]))
    assert found == pytest.approx(expected, rel=1e-4)
