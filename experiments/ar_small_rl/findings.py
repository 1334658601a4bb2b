"""Sections of the report of `ar_small_rl`: the front, and measures against the AR's size."""

from math import nan

from common.metrics.statistics import Interval
from common.report.front import Axes, front_section, size_section
from common.report.markdown import code, percent
from common.report.paired import mean_interval, measures_by_arm
from common.report.results import Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from common.report.tables import ArmRow, arm_table, prefix_table
from common.schema import AV, AV_NEUTRAL_AR
from experiments.ar_small_rl.rule import QUOTES, WARM_START

AXES = Axes(
    "share inside quotation marks",
    "FVE under the neutral AR",
    "Quotes against what the words carry",
)
PREFIX = 16
"""Approximate number of tokens of an explanation."""


def sections(results: Results) -> list[Section]:
    """The front of FVE against quotes, measures against the AR's size, and each arm's own texts."""
    means = measures_by_arm(results, QUOTES.measure)
    quotes = {arm: mean_interval(results, rows) for arm, rows in means.items()}
    neutral = {row.arm: row for row in arm_table(results, AV_NEUTRAL_AR)}
    both = [arm for arm in results.arms if arm in quotes and arm in neutral]
    points = {arm: (quotes[arm], neutral[arm].fve) for arm in both}
    own = [front_section(points, AXES, results.arms)] if points else []
    return [*own, *_against_size(results, quotes, neutral), *spoken_sections(results)]


def _against_size(
    results: Results, quotes: dict[str, Interval], neutral: dict[str, ArmRow]
) -> list[Section]:
    """Empty unless ARs of different sizes were measured."""
    sizes = {a: n for a, n in results.facts.get("ar_parameters", {}).items() if a != WARM_START}
    if len(set(sizes.values())) < 2 or not quotes:
        return []
    prefixes = [row for row in prefix_table(results, AV) if row.arm in sizes]
    tokens = min((row.tokens for row in prefixes), key=lambda k: abs(k - PREFIX), default=PREFIX)
    long = [row for row in prefixes if row.tokens == tokens]
    top1 = {a: Interval(row.top1, nan, nan) for a, row in neutral.items() if row.top1 is not None}
    measures = {
        AXES.low: quotes,
        "FVE, neutral AR": {arm: row.fve for arm, row in neutral.items()},
        "top-1, neutral AR": top1,
        f"FVE of {tokens} tokens, own AR": {row.arm: row.fve for row in long},
    }
    measures = {
        name: {a: one for a, one in found.items() if a in sizes} for name, found in measures.items()
    }
    shares = ", ".join(f"{code(row.arm)} {percent(row.coverage)}" for row in long)
    text = (
        "Top-1 is of retrieval among the distractors, without an interval. The FVE of the first"
        f" tokens is that of the explanations that have so many: {shares or 'none'}."
    )
    return [size_section(measures, sizes, results.arms, text)]
