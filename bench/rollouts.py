"""New tokens per second while an AV writes: the engine against transformers' `generate`."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import torch

from bench.timing import Rates, Ratio, alternate, ratio
from bench.workload import Workload
from common.config import AVConfig
from common.models.verbalizer import Verbalizer
from common.rollout.engine import keyed_draws, roll_out, room_of
from common.rollout.reference import generate
from common.rollout.sampler import merged
from common.target.load import Target

ACTIVATIONS, SAMPLES, TOKENS, QUICK_TOKENS = 8, 8, 48, 8
GOAL = 2.0
OURS, GREEDY, PLAIN = "nla", "nla, one sample each", "generate"


class Rolled(NamedTuple):
    """Rates in new tokens per second, at so many tokens a text."""

    tokens: int
    rates: Rates
    ratios: list[Ratio]


def measure_rollouts(work: Workload) -> Rolled:
    """Sample in turn, both in the same precision; no text ends, so that both write as much.

    Where weights are bfloat16, they are so for both; weights packed for decoding are ours alone.

    That leaves out what the engine gains where texts end early: it drops them, `generate` does not.
    """
    tokens = TOKENS if work.is_real else QUICK_TOKENS
    verbalizer = endless(work.material().target, work.profile.av, tokens).eval()
    low, device = work.low_precision, next(verbalizer.parameters()).device
    generator = torch.Generator().manual_seed(0)
    vectors = 100 * torch.randn(
        ACTIVATIONS, verbalizer.language_model.config.hidden_size, generator=generator
    )

    def unit(write: Callable[[int], int], prepared: bool = True) -> Callable[[int], float]:
        def measured(number: int) -> float:
            autocast = torch.autocast(device.type, torch.bfloat16, enabled=low)
            with merged(verbalizer, low) if prepared else nullcontext(), autocast:
                started = time.perf_counter()
                tokens = write(number)
                return tokens / (time.perf_counter() - started)

        return measured

    def ours(number: int, samples: int = SAMPLES) -> int:
        room = room_of(verbalizer)
        draws = [keyed_draws((number, row), samples, room) for row in range(ACTIVATIONS)]
        return int(roll_out(verbalizer, vectors, samples, 1.0, torch.cat(draws)).mask.sum())

    def plain(number: int) -> int:
        torch.manual_seed(number)
        rows = generate(verbalizer, vectors, SAMPLES, 1.0)
        return len(rows) * room_of(verbalizer)

    units = {
        OURS: unit(ours),
        GREEDY: unit(lambda number: ours(number, 1)),
        PLAIN: unit(plain, prepared=low),
    }
    for one in units.values():
        one(-1)
    rates = alternate(units, work.scale.rounds, "rollouts")
    return Rolled(tokens, rates, [ratio(rates, OURS, PLAIN, GOAL)])


def endless(target: Target, config: AVConfig, tokens: int) -> Verbalizer:
    """An untrained AV whose end token is one that it never writes: all texts have `tokens`."""
    config = config.replace(max_explanation_tokens=tokens - 1, lora_rank=0)
    verbalizer = Verbalizer(target.model, target.tokenizer, config, 100.0)
    marker = verbalizer.template.prompt_ids[verbalizer.template.slot_columns[0]]
    verbalizer.template = replace(verbalizer.template, end_id=marker)
    return verbalizer
