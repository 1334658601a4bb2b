"""Sections of the report of `ar_small_rl`: the front, and measures against the AR's size."""

from common.metrics.statistics import Interval
from common.report.front import Axes, front_section, size_section
from common.report.paired import measure_means
from common.report.results import Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from common.report.tables import ArmRow, arm_table
from common.schema import AV_NEUTRAL_AR
from experiments.ar_small_rl.rule import CONTENT, QUOTES, RUNS, WARM_START

AXES = Axes(
    "last four words copied",
    "FVE beyond the last four tokens, neutral ARs",
    "Quotes against what the words carry beside them",
)
Means = dict[str, Interval]
"""{arm: its mean}."""


def sections(results: Results) -> list[Section]:
    """The front of words against quotes, measures against the AR's size, the arms' own texts."""
    quotes, rows = measure_means(results, QUOTES.measure), arm_table(results, AV_NEUTRAL_AR)
    words = {row.arm: row.beyond[4] for row in rows if not row.is_floor and 4 in row.beyond}
    points = {arm: (quotes[arm], words[arm]) for arm in words if arm in quotes}
    own = [front_section(points, AXES, results.arms)] if points else []
    return [*own, *_against_size(results, quotes, words, rows), *spoken_sections(results)]


def _against_size(
    results: Results, quotes: Means, words: Means, rows: list[ArmRow]
) -> list[Section]:
    """Empty unless ARs of different sizes were measured."""
    sizes = {a: n for a, n in results.facts.get("ar_parameters", {}).items() if a != WARM_START}
    if len(set(sizes.values())) < 2 or not quotes:
        return []
    measures = {
        AXES.low: quotes,
        "longest run of source words": measure_means(results, RUNS.measure),
        "content": measure_means(results, CONTENT.measure),
        AXES.high: words or {row.arm: row.fve for row in rows},
    }
    measures = {
        name: {arm: one for arm, one in found.items() if arm in sizes}
        for name, found in measures.items()
    }
    text = "The measures of the decision rule; copied words and content are those beyond chance."
    return [size_section(measures, sizes, results.arms, text)]
