"""Training tokens per second: our modules against transformers' Trainer on the same examples."""

from collections.abc import Callable
from typing import NamedTuple

from bench.plain_trainer import Loop
from bench.tasks import Batches, Task
from bench.timing import Rates, Ratio, Unit, alternate, ratio
from common.errors import NlaError

GOAL = 1.3
OURS, PLAIN, PLAIN_FULL = "nla", "Trainer", "Trainer in fp32"
WARM_UP = -1
"""The round that is not measured: one step."""


class Training(NamedTuple):
    """Rates in real tokens per second, what they mean, and the arithmetic that a token needs."""

    rates: Rates
    ratios: list[Ratio]
    flops_per_token: float


def measure_training(task: Task, rounds: int, low: bool, also_full: bool = False) -> Training:
    """Train in turn, both sides in bfloat16 autocast if `low`, else in fp32.

    `also_full` adds the Trainer in fp32. NlaError when the loops did not train on the same tokens.
    """
    seen: dict[int, list[list[int]]] = {}

    def unit(run: Callable[[Batches], Loop]) -> Unit:
        def measured(number: int) -> float:
            loop = run(task.plan[-1:] if number == WARM_UP else task.batches(number))
            _check_same(task, seen.setdefault(number, sorted(loop.rows)), sorted(loop.rows))
            return loop.tokens / loop.seconds

        return measured

    units = {OURS: unit(task.ours), PLAIN: unit(lambda batches: task.plain(batches, low))}
    if also_full:
        units[PLAIN_FULL] = unit(lambda batches: task.plain(batches, False))
    for one in units.values():
        one(WARM_UP)
    rates = alternate(units, rounds, f"{task.name} training")
    ratios = [ratio(rates, OURS, PLAIN, GOAL)]
    if also_full:
        ratios.append(ratio(rates, OURS, PLAIN_FULL))
    return Training(rates, ratios, task.flops_per_token)


def _check_same(task: Task, first: list[list[int]], other: list[list[int]]) -> None:
    if first != other:
        what = f"{task.name}: the loops trained on different tokens"
        raise NlaError(what, where="bench", remedy="compare their templates and limits")
