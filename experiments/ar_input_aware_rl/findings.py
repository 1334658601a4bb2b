"""Sections of the report of `ar_input_aware_rl`: the front, and what is left to be rewarded."""

import polars as pl

from common.report.front import Axes, front_section
from common.report.markdown import amount, code, table
from common.report.paired import measure_means
from common.report.results import Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from common.report.tables import arm_table
from common.schema import AV_NEUTRAL_AR
from experiments.ar_input_aware_rl.rule import QUOTES

AXES = Axes(
    "last four words copied",
    "FVE beyond the last four tokens, neutral ARs",
    "Quotes against what the words carry beside them",
)
SPREAD = "rl_reward_spread"
REWARDED = {SPREAD: "spread", "rl_reward": "reward"}
"""Curves with a value for each rollout, and what their columns are called."""
LEFT = (
    "Every rollout samples several explanations of each activation. *Reward*: minus the squared"
    " error of the arm's own AR (0: nothing is left to say), which sees more in some arms than in"
    " others; an explanation that is empty or cut off has the profile's `invalid_reward`, or the"
    " worst of its group. *Spread*: the standard deviation of the rewards of one activation's"
    " explanations, a mean over the activations: how much it matters what is said. Where it is near"
    " 0 the words no longer earn anything, and what the AV learns is noise. Means over rollouts,"
    " then over"
    " runs; a quarter is one of the rollouts that a run made, also if it was stopped early."
)


def sections(results: Results) -> list[Section]:
    """The front of words against quotes, what the rewards leave to say, the arms' own texts."""
    quotes, rows = measure_means(results, QUOTES.measure), arm_table(results, AV_NEUTRAL_AR)
    words = {row.arm: row.beyond[4] for row in rows if not row.is_floor and 4 in row.beyond}
    points = {arm: (quotes[arm], words[arm]) for arm in words if arm in quotes}
    own = [front_section(points, AXES, results.arms)] if points else []
    return [*own, *_left_to_say(results), *spoken_sections(results)]


def _left_to_say(results: Results) -> list[Section]:
    """Rewards of the arms that learn; none where their spread was not kept."""
    rewarded = results.curves.filter(pl.col("metric").is_in([*REWARDED]))
    learned = {*rewarded.filter(metric=SPREAD)["arm"]}
    if not learned:
        return []
    means = _by_quarter(rewarded)
    rows = [
        {"arm": code(arm)} | {title: amount(one) for title, one in means[arm].items()}
        for arm in results.arms
        if arm in learned
    ]
    title = "Is there anything left to say?"
    return [Section(title, f"{LEFT}\n\n{table(rows)}", on_page=True)]


def _by_quarter(rewarded: pl.DataFrame) -> dict[str, dict[str, float]]:
    """{arm: {column's title: mean}} over all rollouts, the first quarter and the last."""
    run, rollout = ("arm", "seed", "metric"), pl.col("value").sort_by("step")
    quarter = (pl.len() + 3) // 4
    parts = {
        "whole run": rollout,
        "first quarter": rollout.head(quarter),
        "last quarter": rollout.tail(quarter),
    }
    of_runs = rewarded.group_by(run).agg(**{name: part.mean() for name, part in parts.items()})
    of_arms = of_runs.group_by("arm", "metric").agg(pl.col([*parts]).mean())
    found = {(row["arm"], row["metric"]): row for row in of_arms.iter_rows(named=True)}
    return {
        arm: {
            f"{title}, {part}": found[arm, metric][part]
            for metric, title in REWARDED.items()
            if (arm, metric) in found
            for part in parts
        }
        for arm, _ in found
    }
