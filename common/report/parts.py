"""The parts of a report as Markdown: tables of formatted cells, and sentences beneath them."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import polars as pl

from common.report.markdown import (
    ABSENT,
    amount,
    bounds,
    cell,
    code,
    fixed,
    includes_zero,
    label,
    percent,
    plain,
    table,
    writer,
)
from common.report.results import CONTROL, FAILED, Results
from common.report.tables import (
    ALL_QUOTES,
    ORIGINAL,
    VERBATIM,
    ArmRow,
    PrefixRow,
    SurvivalRow,
    quote_effects,
)

FEWEST_SEEDS = 3


class Part(NamedTuple):
    """A table of one source of explanations, and what it says."""

    writer: str
    table: str
    sentences: tuple[str, ...] = ()


def _named(results: Results, row: ArmRow) -> str:
    if not row.is_floor:
        return code(row.arm)
    kind = "ceiling" if row.arm in results.facts.get("ceilings", []) else "floor"
    return f"{code(row.arm)} ({kind})"


def arm_part(results: Results, source: str, rows: Sequence[ArmRow]) -> Part:
    """Arms and floors by metrics, each comparison in words, and what is missing."""
    counts = sorted({f"{row.activations} of {row.documents} documents" for row in rows})
    cells = [
        {
            "arm": _named(results, row),
            "FVE": bounds(row.fve),
            "seeds": _seeds(row),
            f"FVE minus {CONTROL}": bounds(row.difference),
            "cosine": fixed(row.cosine),
            "raw FVE": fixed(row.raw_fve),
            "top-1": fixed(row.top1),
            "MRR": fixed(row.mrr),
            "activations": str(row.activations) if len(counts) > 1 else ABSENT,
        }
        | {f"FVE, {label(name)}": bounds(fve) for name, fve in row.transforms.items()}
        for row in rows
    ]
    sentences = [_comparison(row) for row in rows if row.difference and not row.is_floor]
    few = [code(row.arm) for row in rows if not row.is_floor and len(row.seeds) < FEWEST_SEEDS]
    if few:
        sentences.append(f"Fewer than {FEWEST_SEEDS} training seeds: {', '.join(few)}.")
    still = [code(row.arm) for row in rows if row.arm in results.facts.get("untrained", [])]
    if still:
        sentences.append(f"Nothing is trained, one run stands for every seed: {', '.join(still)}.")
    absent = results.facts.get("missing_floors", {})
    sentences += [f"No floor {code(name)}: {reason}." for name, reason in absent.items()]
    sentences += _chance(results, rows)
    sentences.append(f"Activations evaluated: {'; '.join(counts)}.")
    lost = results.rows.filter(~pl.col("applied"), source=source, transform=ORIGINAL).height
    if lost:
        sentences.append(f"Rows without an explanation to evaluate, left out: {lost}.")
    return Part(writer(source), table(cells), tuple(sentences))


def survival_part(results: Results, source: str, rows: Sequence[SurvivalRow]) -> Part:
    """Arms and transforms by what survives, and in words what that says of the quotes."""
    cells = [
        {
            "arm": code(row.arm),
            "transform": code(row.transform),
            "coverage": percent(row.coverage),
            "FVE, original": bounds(row.original),
            "FVE, transformed": bounds(row.fve),
            "share that survives": bounds(row.share),
        }
        for row in rows
    ]
    sentences = [
        f"{code(arm)}, {code(pair[0])} minus {code(pair[1])}: {bounds(effect)}"
        + (", **the interval includes zero**." if includes_zero(effect) else ".")
        for pair in (VERBATIM, ALL_QUOTES)
        for arm, effect in quote_effects(results, source, pair).items()
    ]
    if none := [r for r in rows if not math.isnan(r.fve.low) and not r.share.low > 0]:
        said = "Nothing is shown to survive (no interval wholly above zero)"
        sentences.append(f"{said}: {_by_transform(none)}.")
    if worse := [r for r in rows if r.fve.high < 0]:
        said = "Worse than answering the mean activation (FVE wholly below zero)"
        sentences.append(f"{said}: {_by_transform(worse)}.")
    return Part(writer(source), table(cells), tuple(sentences))


def prefix_part(source: str, rows: Sequence[PrefixRow]) -> Part:
    """Arms by prefix lengths, and how many explanations are so long."""
    arms = dict.fromkeys(row.arm for row in rows)
    cells: list[dict[str, str]] = [{"arm": code(arm)} for arm in arms]
    for arm, line in zip(arms, cells, strict=True):
        for row in rows:
            if row.arm == arm:
                gain = "" if row.marginal is None else f"; {row.marginal:+.4f}"
                line[f"k = {row.tokens}"] = bounds(row.fve) + gain
    return Part(writer(source), table(cells), _lengths(rows))


def text_part(results: Results) -> str:
    """Measures of the texts by writer."""
    names = sorted({name for metrics in results.text_metrics.values() for name in metrics})
    return table(
        [
            {"measure": label(name)}
            | {
                source: fixed(metrics.get(name))
                for source, metrics in sorted(results.text_metrics.items(), reverse=True)
            }
            for name in names
        ]
    )


def cost_part(results: Results) -> str:
    """What each arm's final runs cost, with the settings that tuning chose."""
    totals = [
        pl.col("skipped_steps").sum() if name == "skipped_steps" else pl.col(name).mean()
        for name in results.runs.columns
        if name not in ("arm", "seed")
    ]
    means = {
        row.pop("arm"): row
        for row in results.runs.group_by("arm").agg(pl.len(), *totals).to_dicts()
    }
    return table(
        [
            {"arm": code(arm), "seeds": str(means[arm].pop("len"))}
            | {label(name): amount(value) for name, value in means[arm].items()}
            for arm in results.arms
            if arm in means
        ]
    )


def tuning_part(results: Results) -> Part | None:
    """Trials of each arm by how they ended, and the best; says when budgets differ."""
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
    """Every fact, nested ones with dots, by name."""
    flat = sorted(_flatten(results.facts).items())
    return table([{"fact": name, "value": _fact(value)} for name, value in flat])


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


def _seeds(row: ArmRow) -> str:
    values = row.seeds.values()
    if len(values) < 2:
        return str(len(values))
    return f"{len(values)}: {fixed(min(values))} to {fixed(max(values))}"


def _comparison(row: ArmRow) -> str:
    assert row.difference is not None
    said = f"{code(row.arm)} minus {code(CONTROL)} = {bounds(row.difference)}: "
    if math.isnan(row.difference.low):
        return said + "too few documents in common to compare."
    if includes_zero(row.difference):
        return said + "**the interval includes zero**, no difference is shown."
    return said + f"FVE is {'higher' if row.difference.estimate > 0 else 'lower'} than control's."


def _chance(results: Results, rows: Sequence[ArmRow]) -> list[str]:
    """What guessing gets at retrieval; nothing where it, or the distractors, are not known."""
    distractors = results.facts.get("distractors")
    if distractors is None or all(row.top1 is None for row in rows):
        return []
    guesses = [1 / rank for rank in range(1, distractors + 2)]
    chance = f"chance is {fixed(guesses[-1])} and {fixed(sum(guesses) / len(guesses))}"
    return [f"top-1 and MRR: the own activation among {distractors} distractors, {chance}."]


def _by_transform(rows: Sequence[SurvivalRow]) -> str:
    """Transforms, each with the arms that `rows` have of it."""
    arms: dict[str, list[str]] = {}
    for row in rows:
        arms.setdefault(row.transform, []).append(code(row.arm))
    return "; ".join(f"{code(name)} of {', '.join(named)}" for name, named in arms.items())


def _lengths(rows: Sequence[PrefixRow]) -> tuple[str, ...]:
    """Share of the explanations that have so many tokens; arm by arm only where arms differ."""
    shares: dict[str, list[str]] = {}
    for row in rows:
        shares.setdefault(row.arm, []).append(f"{percent(row.coverage)} (k = {row.tokens})")
    told = {arm: ", ".join(parts) for arm, parts in shares.items()}
    said = "Explanations that have so many tokens"
    if len(set(told.values())) == 1:
        return (f"{said}: {next(iter(told.values()))}.",)
    return tuple(f"{said}, {code(arm)}: {line}." for arm, line in told.items())


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
