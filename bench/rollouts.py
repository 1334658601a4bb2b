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
from common.device import best_device
from common.models.verbalizer import Verbalizer, freeze_in_bfloat16
from common.rollout.engine import Engine, Write, keyed_draws, room_of
from common.rollout.reference import generate
from common.rollout.sampler import engine_of, own_engine
from common.target.load import Target

ACTIVATIONS, SAMPLES, TOKENS, QUICK_TOKENS = 8, 8, 48, 8
GOAL = 2.0
OURS, GREEDY, PLAIN, VLLM = "nla", "nla, one sample each", "generate", "vllm"
LOOSE = "nla, no graph"


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
    low, device = work.low_precision, best_device()
    verbalizer = endless(work.trunk().target, work.profile.av, tokens).to(device).eval()
    other = _as_a_user_holds_it(verbalizer, low)
    generator = torch.Generator().manual_seed(0)
    width = verbalizer.language_model.config.hidden_size
    vectors = 100 * torch.randn(ACTIVATIONS, width, generator=generator).to(device)

    def ours(number: int, roll_out: Write, samples: int = SAMPLES, **how: bool) -> int:
        room = room_of(verbalizer)
        draws = [keyed_draws((number, row), samples, room) for row in range(ACTIVATIONS)]
        return int(roll_out(vectors, samples, 1.0, torch.cat(draws), **how).mask.sum())

    def plain(number: int, _: object) -> int:
        torch.manual_seed(number)
        rows = generate(other, vectors, SAMPLES, 1.0)
        return len(rows) * room_of(other)

    unit = partial(_unit, verbalizer, low)
    units = {
        OURS: unit(ours, own_engine),
        GREEDY: unit(partial(ours, samples=1), own_engine),
        PLAIN: unit(plain, None),
    }
    ratios = [(PLAIN, GOAL)]
    if device.type == "cuda":
        units[LOOSE] = unit(partial(ours, in_place=False), own_engine)
        ratios.append((LOOSE, None))
    if find_spec(VLLM) and work.is_real:  # it has no kernels for the tiny model
        units[VLLM] = unit(ours, engine_of(RolloutConfig(engine=VLLM)))
        ratios.append((VLLM, None))
    peaks = {name: memory_peak(partial(one, -1)) for name, one in units.items()}
    rates = alternate(units, work.scale.rounds, "rollouts")
    compared = [ratio(rates, OURS, other, goal) for other, goal in ratios]
    return Rolled(tokens, rates, compared, peaks)


def _unit(
    verbalizer: Verbalizer, low: bool, write: Callable[..., int], engine: Engine | None
) -> Callable[[int], float]:
    """New tokens per second of one way to write, once the weights are ready."""
    device = next(verbalizer.parameters()).device.type

    def measured(number: int) -> float:
        autocast = torch.autocast(device, torch.bfloat16, enabled=low)
        with engine(verbalizer, low) if engine else nullcontext() as roll_out, autocast:
            started = time.perf_counter()
            tokens = write(number, roll_out)
            return tokens / (time.perf_counter() - started)

    return measured


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
