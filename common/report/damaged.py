"""Explanations that were changed before they were read: stripped, cut short, partly swapped."""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval, share_surviving
from common.report.fve import (
    ORIGINAL,
    coverage,
    difference_of,
    fve_of,
    interval_of,
    joint_errors,
    mean_of,
    rows_by_arm,
)
from common.report.measured import PARTS
from common.report.references import SHUFFLED
from common.report.results import Results

ALL_QUOTES = ("quotes_stripped", "random_stripped")
VERBATIM = ("verbatim_stripped", "verbatim_random_stripped")
"""A transform that strips quotes, and its control for the amount of text removed."""
SURVIVAL = ("quotes_only", *ALL_QUOTES, *VERBATIM, "paraphrase", "full_paraphrase")
PREFIX = "prefix_"


class SurvivalRow(NamedTuple):
    """How much of an arm's FVE remains when its explanations are transformed."""

    arm: str
    transform: str
    coverage: float
    """Share of the explanations that could be transformed; only these are used here."""
    original: Interval
    """FVE of the unchanged explanations of the same activations."""
    fve: Interval
    share: Interval
    """`fve` / `original`."""


class SwapRow(NamedTuple):
    """The FVE that an arm loses when a part of its explanations is another document's."""

    arm: str
    transform: str
    coverage: float
    """Share of the explanations that have such a part; only these are used here."""
    loss: Interval
    share: float | None
    """The loss divided by that of the whole explanation of another document."""


class PrefixRow(NamedTuple):
    """FVE of the first `tokens` explanation tokens."""

    arm: str
    tokens: int
    coverage: float
    """Share of the explanations that have so many tokens; only these are used here."""
    fve: Interval
    marginal: float | None
    """FVE gained per token since the next shorter prefix, on explanations that have both."""


def survival_table(
    results: Results, source: str, transforms: Sequence[str] = SURVIVAL
) -> list[SurvivalRow]:
    """One row per arm and transform, each with the original of the same activations."""
    return [
        _survival_row(results, rows, transform)
        for rows in rows_by_arm(results, source)
        for transform in transforms
        if transform in rows["transform"]
    ]


def quote_effects(
    results: Results, source: str, pair: tuple[str, str] = VERBATIM
) -> dict[str, Interval]:
    """FVE without quotes minus FVE without random spans of as many words, paired, by arm.

    Negative if quotes carry more than other words. Arms without the `pair` of transforms are left
    out.
    """
    frames = {rows["arm"][0]: joint_errors(rows, pair) for rows in rows_by_arm(results, source)}
    return {arm: difference_of(results, f, *pair) for arm, f in frames.items() if f.height}


def swap_table(results: Results, source: str) -> list[SwapRow]:
    """One row per arm and swap."""
    return [
        _swap_row(results, rows, transform)
        for rows in rows_by_arm(results, source)
        for transform in PARTS
        if transform in rows["transform"]
    ]


def prefix_table(results: Results, source: str) -> list[PrefixRow]:
    """One row per arm and prefix length, the shortest first."""
    table: list[PrefixRow] = []
    for rows in rows_by_arm(results, source):
        names = rows["transform"].unique().to_list()
        lengths = [int(name.removeprefix(PREFIX)) for name in names if name.startswith(PREFIX)]
        shorter: int | None = None
        for tokens in sorted(lengths):
            table.append(_prefix_row(results, rows, tokens, shorter))
            shorter = tokens
    return table


def _survival_row(results: Results, rows: pl.DataFrame, transform: str) -> SurvivalRow:
    pairs = joint_errors(rows, (transform, ORIGINAL))
    return SurvivalRow(
        arm=rows["arm"][0],
        transform=transform,
        coverage=coverage(rows, transform, pairs),
        original=fve_of(results, pairs, ORIGINAL),
        fve=fve_of(results, pairs, transform),
        share=interval_of(share_surviving, results, pairs, None, transform, ORIGINAL),
    )


def _swap_row(results: Results, rows: pl.DataFrame, transform: str) -> SwapRow:
    pairs = joint_errors(rows, (transform, ORIGINAL))
    whole = joint_errors(rows, (transform, ORIGINAL, SHUFFLED))
    lost = mean_of(whole[transform] - whole[ORIGINAL])
    of = mean_of(whole[SHUFFLED] - whole[ORIGINAL])
    return SwapRow(
        arm=rows["arm"][0],
        transform=transform,
        coverage=coverage(rows, transform, pairs),
        loss=difference_of(results, pairs, ORIGINAL, transform),
        share=lost / of if lost is not None and of is not None and of > 0 else None,
    )


def _prefix_row(
    results: Results, rows: pl.DataFrame, tokens: int, shorter: int | None
) -> PrefixRow:
    name, marginal = f"{PREFIX}{tokens}", None
    pairs = joint_errors(rows, (name, ORIGINAL))
    if shorter is not None:
        both = joint_errors(rows, (name, f"{PREFIX}{shorter}"))
        gain = mean_of(both[f"{PREFIX}{shorter}"] - both[name])
        scale = results.facts["variance"] * (tokens - shorter)
        marginal = None if gain is None else gain / scale
    return PrefixRow(
        rows["arm"][0], tokens, coverage(rows, name, pairs), fve_of(results, pairs, name), marginal
    )
