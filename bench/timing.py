"""Measure alternatives in turn, so that a machine's drift meets all of them alike."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

from common.progress import progress

Unit = Callable[[int], float]
"""Runs once in the given round and returns its rate (items per second, or seconds)."""
Rates = dict[str, list[float]]
"""What each unit gave, round by round."""


class Ratio(NamedTuple):
    """How many times faster `ours` is: the median over rounds, and the range."""

    ours: str
    against: str
    value: float
    low: float
    high: float
    goal: float | None = None


def alternate(units: Mapping[str, Unit], rounds: int, what: str) -> Rates:
    """A, B, C, A, B, C, ...: every unit once in every round."""
    rates: Rates = {name: [] for name in units}
    with progress(what, rounds * len(units), "measurement") as bar:
        for number in range(rounds):
            for name, unit in units.items():
                bar.set_postfix_str(name)
                rates[name].append(unit(number))
                bar.update(1)
    return rates


def ratio(rates: Rates, ours: str, against: str, goal: float | None = None) -> Ratio:
    """Rate of `ours` divided by that of `against`, both taken from the same round."""
    pairs = zip(rates[ours], rates[against], strict=True)
    values = [mine / other for mine, other in pairs]
    return Ratio(ours, against, median(values), min(values), max(values), goal)


def best(rates: Rates, names: list[str]) -> str:
    """The fastest of some units, by its median."""
    return max(names, key=lambda name: median(rates[name]))
