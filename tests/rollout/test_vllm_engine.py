"""Against our own engine, on a tiny model with heads of a width that vLLM has kernels for.

The errors are tested everywhere, the rest where vLLM is installed.
"""

import gc
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from common.config import AVConfig, RolloutConfig
from common.errors import NlaError
from common.models.verbalizer import FRESH, Verbalizer
from common.rollout import vllm_engine
from common.rollout.engine import keyed_draws, roll_out, room_of
from common.rollout.sampler import engine_of, sample_explanations
from common.runs import RunFolder
from common.target.load import Target
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single
from tests.adapters import stir
from tests.schemes import Graded
from tests.training import runs

CONFIG = RolloutConfig(engine="vllm")
ROWS = 8
needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")


@pytest.fixture(scope="module")
def wide(target: Target) -> Target:
    from transformers import LlamaForCausalLM

    heads = {"num_attention_heads": 2, "head_dim": 32}
    settings = type(target.model.config)(**target.model.config.to_dict() | heads)
    torch.manual_seed(0)
    return target._replace(model=LlamaForCausalLM(settings))


@pytest.fixture(scope="module")
def make(wide: Target, av_config: AVConfig) -> Callable[..., Verbalizer]:
    def build(decomposition: Decomposition | None = None, **settings: object) -> Verbalizer:
        torch.manual_seed(0)
        config = av_config.replace(**settings)
        verbalizer = Verbalizer(wide.model, wide.tokenizer, config, 5.0, decomposition)
        return stir(verbalizer, std=0.2).eval()

    return build


def agree(verbalizer: Verbalizer, activations: Tensor) -> list[list[int]]:
    """Greedy texts and their log-probabilities are those of our own engine."""
    own = roll_out(verbalizer, activations)
    with engine_of(CONFIG)(verbalizer, False) as write:
        theirs = write(activations)
    assert theirs.written() == own.written()
    assert torch.equal(theirs.mask, own.mask)
    assert torch.equal(theirs.ended, own.ended)
    torch.testing.assert_close(theirs.log_probs, own.log_probs, rtol=0, atol=1e-4)
    return theirs.written()


@needs_vllm
@pytest.mark.parametrize("scheme", [Single(), Repeat(4), Graded()])
def test_greedy_tokens_and_log_probabilities_are_ours(
    make: Any, activations: Tensor, scheme: Decomposition
):
    assert len({tuple(row) for row in agree(make(scheme), activations)}) > 1


@needs_vllm
@pytest.mark.parametrize("rank", [0, 4])
def test_weights_follow_the_av(make: Any, activations: Tensor, rank: int):
    """Whole weights, adapters of the warm start, and fresh ones on top, as they learn."""
    verbalizer = make(lora_rank=rank)
    seen = [agree(verbalizer, activations)]
    if rank == 0:
        with torch.no_grad():
            verbalizer.language_model.model.layers[3].mlp.down_proj.weight.normal_(std=0.3)
        seen.append(agree(verbalizer, activations))
    verbalizer.adapt_anew(2)
    assert agree(verbalizer, activations) == seen[-1]
    for _ in range(2):
        stir(verbalizer, FRESH, 0.2)
        seen.append(agree(verbalizer, activations))
    seen.append(agree(make(lora_rank=rank, slots=2), activations))
    assert all(one != next_one for one, next_one in pairwise(seen))


@needs_vllm
def test_samples_have_our_log_probabilities_and_end_where_they_should(
    make: Any, activations: Tensor
):
    verbalizer, samples = make(), 4
    draws = torch.cat([keyed_draws(("row", row), samples, room_of(verbalizer)) for row in range(8)])
    with engine_of(CONFIG)(verbalizer, False) as write:
        first, again = (write(activations, samples, 0.7, draws) for _ in range(2))
        other = write(activations, samples, 0.7, draws.flip(0))
    assert first.written() == again.written()
    assert first.written() != other.written()
    read = verbalizer.sampled_log_probs(first.ids, first.mask, activations, samples, 0.7)
    torch.testing.assert_close(first.log_probs, read.detach(), rtol=0, atol=1e-4)
    assert first.mask.shape[1] <= room_of(verbalizer)
    end = verbalizer.template.end_id
    for ids, mask, ended in zip(first.ids, first.mask, first.ended, strict=True):
        assert ended == (int(ids[mask][-1]) == end)
        assert end not in ids[mask][:-1]


@needs_vllm
def test_samples_are_distributed_as_ours(make: Any, activations: Tensor):
    verbalizer, samples = make(max_explanation_tokens=1), 2000
    draws = keyed_draws(("chi",), samples, room_of(verbalizer))
    ours = roll_out(verbalizer, activations[:1], samples, 0.2, draws).ids[:, 0]
    with engine_of(CONFIG)(verbalizer, False) as write:  # many prompts at once fail on a CPU
        parts = [write(activations[:1], 50, 0.2, some).ids[:, 0] for some in draws.split(50)]
    theirs = torch.cat(parts)
    counts = torch.stack([torch.bincount(ids, minlength=2000) for ids in (ours, theirs)])
    common = counts.sum(0) >= 40
    table = torch.cat([counts[:, common], counts[:, ~common].sum(1, keepdim=True)], 1)
    assert table.shape[1] > 3
    assert chi2_contingency(table.numpy()).pvalue > 0.001


@needs_vllm
def test_texts_are_those_of_our_engine(make: Any, activations: Tensor):
    greedy = {"precision": "32-true"}
    own = sample_explanations(make(), activations, RolloutConfig(), **greedy)
    assert sample_explanations(make(), activations, CONFIG, **greedy) == own


@needs_vllm
def test_what_is_sampled_in_training_is_of_the_weights_as_they_are(
    wide: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    anything = {"must_end": False}

    def build(_folder: Path) -> Any:
        context = runs.CONTEXT._replace(engine=engine_of(CONFIG))
        return runs.policy(tmp_path, context, optimizer_steps=1, learning_rate=1e-2, **anything)

    monkeypatch.setattr(runs, "load_target", lambda _folder: wide)
    monkeypatch.setitem(runs.KINDS, "policy", build)
    folder = RunFolder(tmp_path / "smoke" / "test" / "control" / "0")
    runs.train("policy", tmp_path, folder)
    drift = runs.metrics(folder, "rl_sampling_drift")
    assert len(drift) == 6
    assert max(drift) < 1e-4
    assert runs.metrics(folder, "rl_kl")[-1] > 1e-3, "the policy has moved"


def test_what_vllm_cannot_do_is_said_at_once(
    target: Target, av_config: AVConfig, monkeypatch: pytest.MonkeyPatch
):
    def refusal(**settings: object) -> str:
        config = av_config.replace(**settings)
        verbalizer = Verbalizer(target.model, target.tokenizer, config, 5.0)
        with pytest.raises(NlaError) as refused, engine_of(CONFIG)(verbalizer, False):
            pass
        line = str(refused.value)
        assert line.endswith("or set rollout.engine to `own`")
        return line

    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: name)
    assert "`add`" in refusal(injection="add")
    assert "rank 600" in refusal(lora_rank=600)
    monkeypatch.setattr(vllm_engine, "_several_processes", lambda: True)
    assert "trainer.devices" in refusal()
    monkeypatch.setattr(vllm_engine, "find_spec", lambda _name: None)
    assert "pip install" in refusal()


@needs_vllm
def test_what_goes_on_beside_vllm_is_as_before(make: Any, activations: Tensor):
    verbalizer = make(lora_rank=16)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with engine_of(CONFIG)(verbalizer, False) as write:
        write(activations)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert gc.get_freeze_count() == 0
