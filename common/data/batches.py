"""Which explanations are read together and in what order; all of it is decided before a run."""

from typing import Any, NamedTuple

import polars as pl

from common.schema import EXPLANATION, KEY
from common.seeding import keyed_random

WINDOW = 50
"""Batches among which examples are sorted by length: saves padding, but still mixes examples."""


class Example(NamedTuple):
    """One explanation and the key of its activation."""

    key: str
    text: Any
    """A string; for an AR it is replaced by a Reading before it is served."""


def examples_of(table: pl.DataFrame, limit: int | None = None) -> list[Example]:
    """Examples of a table with columns key and explanation: a keyed sample of `limit`, or all."""
    rows = table.select(KEY, EXPLANATION).sort(KEY).rows()
    if limit is not None and limit < len(rows):
        rows = keyed_random("examples").sample(rows, limit)
    return [Example(*row) for row in rows]


def plan_batches(
    examples: list[Example], batch_size: int, epochs: int, seed: int
) -> list[list[Example]]:
    """All batches of a run: shuffled by key each epoch, of similar length within a window.

    The last examples that do not fill a batch are left for the next epoch's shuffle.
    """
    plan = []
    for epoch in range(epochs):
        generator = keyed_random("batches", seed, epoch)
        order = generator.sample(examples, len(examples))
        batches = []
        for start in range(0, len(order), WINDOW * batch_size):
            window = sorted(order[start : start + WINDOW * batch_size], key=lambda e: len(e.text))
            batches += [window[i : i + batch_size] for i in range(0, len(window), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size] or batches
        plan += generator.sample(full, len(full))
    return plan


def in_order(examples: list[Example], batch_size: int) -> list[list[Example]]:
    """Batches for evaluation: by length, nothing dropped, sizes differ by at most one."""
    ordered = sorted(examples, key=lambda example: (len(example.text), example.key))
    size, count = len(ordered), -(-len(ordered) // batch_size)
    return [ordered[size * i // count : size * (i + 1) // count] for i in range(count)]


def plan_rollouts(
    keys: list[str], batch_size: int, steps: int, repeats: int, seed: int
) -> list[list[Example]]:
    """Batches of activations to explain, each `repeats` times in a row; all keys before repeats.

    An example's text is its key, because there is no explanation yet.
    """
    assert keys, "nothing to explain"
    order: list[str] = []
    for round_ in range(-(-steps * batch_size // len(keys))):
        order += keyed_random("rollouts", seed, round_).sample(sorted(keys), len(keys))
    examples = [Example(key, key) for key in order]
    return [
        examples[step * batch_size : (step + 1) * batch_size]
        for step in range(steps)
        for _ in range(repeats)
    ]
