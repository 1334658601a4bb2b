"""The parts of a report's details on what was spent: runs, tuning, provenance."""

from typing import Any

import polars as pl
import polars.selectors as cs

from common.report.markdown import ABSENT, amount, cell, code, fixed, label, plain, table
from common.report.parts import Part
from common.report.results import FAILED, Results


def cost_part(results: Results) -> Part | None:
    """The cost of each arm's final runs, with the settings that tuning chose.

    What is the same for all arms is stated in one sentence.
    """
    numbers = results.runs.select("arm", cs.numeric().exclude("seed"))
    totals = [
        pl.col(name).sum() if name == "skipped_steps" else pl.col(name).mean()
        for name in numbers.columns[1:]
    ]
    means = {
        row.pop("arm"): {"runs": row.pop("len")} | row
        for row in numbers.group_by("arm").agg(pl.len(), *totals).to_dicts()
    }
    arms = [arm for arm in results.arms if arm in means]
    columns = {
        label(name): [amount(means[arm][name]) for arm in arms]
        for name in ("runs", *numbers.columns[1:])
    }
    same = {title: cells[0] for title, cells in columns.items() if len({*cells}) == 1 < len(arms)}
    cells = [
        {"arm": code(arm)} | {title: columns[title][row] for title in columns if title not in same}
        for row, arm in enumerate(arms)
    ]
    alike = [f"{title} {value}" for title, value in same.items() if value != ABSENT]
    said = (f"The same for all: {', '.join(alike)}.",) if alike else ()
    return Part("", table(cells), said) if arms else None


def tuning_part(results: Results) -> Part | None:
    """Number of trials of each arm by how they ended, and the best; warns when budgets differ."""
    studies = {arm: results.trials.filter(arm=arm) for arm in results.arms}
    studies = {arm: trials for arm, trials in studies.items() if trials.height}
    if not studies:
        return None
    budgets = {trials.filter(pl.col("state") != FAILED).height for trials in studies.values()}
    sentence = "**The tuning budgets of the arms differ**: compare them with care."
    if len(budgets) == 1:
        sentence = f"Every tuned arm got the same budget of {budgets.pop()} trials."
    cells = [{"arm": code(arm)} | _study(trials) for arm, trials in studies.items()]
    return Part("", table(cells), (sentence,))


def provenance_part(results: Results) -> str:
    """Every fact by its name; nested facts have names with dots.

    Lists of lists or of dicts are left to the sections that tell them.
    """
    flat = sorted(_flatten(results.facts).items())
    told = [(name, value) for name, value in flat if value != [] and not _is_nested(value)]
    return table([{"fact": name, "value": _fact(value)} for name, value in told])


def _is_nested(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(one, list | dict) for one in value)


def _study(trials: pl.DataFrame) -> dict[str, str]:
    """How the trials of one arm ended, and the best of those that were not pruned."""
    states = trials["state"].value_counts().sort("state").iter_rows()
    finished = trials.filter(state="complete").sort("value", "number", descending=[True, False])
    best: dict[str, Any] = next(finished.iter_rows(named=True), {})
    cells = {
        "trials": ", ".join(f"{count} {state.lower()}" for state, count in states),
        "best value": fixed(best.get("value")),
    }
    return cells | {
        label(name.removeprefix("params_")): _setting(value)
        for name, value in best.items()
        if name.startswith("params_")
    }


def _setting(value: object) -> str:
    return amount(value) if isinstance(value, float) else cell(str(value or ABSENT))


def _fact(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    return f"{value:.6g}" if isinstance(value, float) else plain(str(value))


def _flatten(facts: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        nested = isinstance(value, dict)
        flat |= _flatten(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat
