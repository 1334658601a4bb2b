"""New tokens per second while an AV writes: the engine against transformers' `generate`.

And against vLLM, where it is installed.
"""

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import torch

from bench.peak import memory_peak
from bench.timing import Rates, Ratio, alternate, ratio
from bench.workload import Workload
from common.config import AVConfig, RolloutConfig
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.rollout.engine import Engine, Write, keyed_draws, room_of
from common.rollout.reference import generate
from common.rollout.sampler import engine_of, own_engine
from common.target.load import Target

ACTIVATIONS, SAMPLES, TOKENS, QUICK_TOKENS = 8, 8, 48, 8
GOAL = 2.0
OURS, GREEDY, PLAIN, VLLM = "nla", "nla, one sample each", "generate", "vllm"


class Rolled(NamedTuple):
    """Rates in new tokens per second at so many tokens a text, and peaks of memory in GiB."""

    tokens: int
    rates: Rates
    ratios: list[Ratio]
    peaks: dict[str, float]


def measure_rollouts(work: Workload) -> Rolled:
    """Sample in turn, both in the same precision; no text ends, so that both write as much.

    Where weights are bfloat16, they are so for both; weights packed for decoding are ours alone.

    That leaves out what the engine gains where texts end early: it drops them, `generate` does not.
    """
    tokens = TOKENS if work.is_real else QUICK_TOKENS
    verbalizer = endless(work.material().target, work.profile.av, tokens).eval()
    low, device = work.low_precision, next(verbalizer.parameters()).device
    other = _as_a_user_holds_it(verbalizer, low)
    generator = torch.Generator().manual_seed(0)
    vectors = 100 * torch.randn(
        ACTIVATIONS, verbalizer.language_model.config.hidden_size, generator=generator
    )

    def unit(write: Callable[..., int], engine: Engine | None) -> Callable[[int], float]:
        def measured(number: int) -> float:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
            with engine(verbalizer, low) if engine else nullcontext() as roll_out, autocast:
                started = time.perf_counter()
                tokens = write(number, roll_out)
                return tokens / (time.perf_counter() - started)

        return measured

    def ours(number: int, roll_out: Write, samples: int = SAMPLES) -> int:
        room = room_of(verbalizer)
        draws = [keyed_draws((number, row), samples, room) for row in range(ACTIVATIONS)]
        return int(roll_out(vectors, samples, 1.0, torch.cat(draws)).mask.sum())

    def plain(number: int, _: object) -> int:
        torch.manual_seed(number)
        rows = generate(other, vectors, SAMPLES, 1.0)
        return len(rows) * room_of(other)

    units = {
        OURS: unit(ours, own_engine),
        GREEDY: unit(partial(ours, samples=1), own_engine),
        PLAIN: unit(plain, None),
    }
    ratios = [(PLAIN, GOAL)]
    if find_spec(VLLM) and work.is_real:  # it has no kernels for the tiny model
        units[VLLM] = unit(ours, engine_of(RolloutConfig(engine=VLLM)))
        ratios.append((VLLM, None))
    peaks = {name: memory_peak(partial(one, -1)) for name, one in units.items()}
    rates = alternate(units, work.scale.rounds, "rollouts")
    compared = [ratio(rates, OURS, other, goal) for other, goal in ratios]
    return Rolled(tokens, rates, compared, peaks)


def _as_a_user_holds_it(verbalizer: Verbalizer, low: bool) -> Verbalizer:
    """A copy with its weights in the precision of the comparison, not packed."""
    other = copy.deepcopy(verbalizer)
    if low:
        freeze_in_bfloat16(other.requires_grad_(False))
    return other


def endless(target: Target, config: AVConfig, tokens: int) -> Verbalizer:
    """An untrained AV whose end token is one that it never writes: all texts have `tokens`."""
    config = config.replace(max_explanation_tokens=tokens - 1, lora_rank=0)
    verbalizer = Verbalizer(target.model, target.tokenizer, config, 100.0)
    marker = verbalizer.template.prompt_ids[verbalizer.template.slot_columns[0]]
    verbalizer.template = replace(verbalizer.template, end_id=marker)
    return verbalizer
