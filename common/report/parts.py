"""The parts of a report as Markdown: tables of formatted cells, and sentences beneath them."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval
from common.report import fve
from common.report.damaged import (
    ALL_QUOTES,
    VERBATIM,
    PrefixRow,
    SurvivalRow,
    SwapRow,
    quote_effects,
)
from common.report.fve import BEST_LENGTH, BEYOND, ORIGINAL
from common.report.markdown import (
    ABSENT,
    bounds,
    code,
    fixed,
    label,
    percent,
    table,
    writer,
)
from common.report.measured import NUMBERS, PARTS
from common.report.references import is_copied
from common.report.results import CONTROL, Results
from common.report.tables import ArmRow
from common.schema import TEACHER


class Part(NamedTuple):
    """A table for one source of explanations, with sentences below it."""

    writer: str
    table: str
    sentences: tuple[str, ...] = ()


def arm_parts(results: Results, measured: Mapping[str, Sequence[ArmRow]]) -> list[Part]:
    """One part per source; a reference row equal to an earlier source's is shown only there."""
    parts, told = [], dict[str, set[float]]()
    for source, rows in measured.items():
        known = [row.arm for row in rows if row.fve.estimate in told.get(row.arm, ())]
        shown = [row for row in rows if row.arm not in known and not is_copied(row.arm)]
        parts.append(_arm_part(results, source, shown))
        for row in rows:
            if row.is_floor:
                told.setdefault(row.arm, set()).add(row.fve.estimate)
    return parts


def _arm_part(results: Results, source: str, rows: Sequence[ArmRow]) -> Part:
    """Arms and floors by metrics, and a sentence on what is missing."""
    counts = sorted({f"{row.activations} of {row.documents} documents" for row in rows})
    several = any(len(row.pairs) > 1 for row in rows)
    cells = [
        {
            "arm": _named(results, row),
            "FVE": bounds(row.fve),
            "best length": fixed(row.beyond[BEST_LENGTH].estimate)
            if BEST_LENGTH in row.beyond
            else ABSENT,
        }
        | {NUMBERS[k].strip(): bounds(row.beyond.get(k)) for k in BEYOND}
        | {
            "pairs": _pairs(row) if several and not row.is_floor else ABSENT,
            f"FVE minus {CONTROL}": bounds(row.difference),
            "cosine": fixed(row.cosine),
            "raw FVE": fixed(row.raw_fve),
            "top-1": fixed(row.top1),
            "MRR": fixed(row.mrr),
            "activations": str(row.activations) if len(counts) > 1 else ABSENT,
        }
        | {f"FVE, {label(name)}": bounds(found) for name, found in row.transforms.items()}
        for row in rows
    ]
    sentences = [f"Activations evaluated: {'; '.join(counts)}."]
    lost = results.rows.filter(~pl.col("applied"), source=source, transform=ORIGINAL).height
    if lost:
        sentences.append(f"Rows without an explanation to evaluate, left out: {lost}.")
    return Part(writer(source), table(cells), tuple(sentences))


def arm_remarks(results: Results, measured: Mapping[str, Sequence[ArmRow]]) -> list[str]:
    """Remarks that hold for all tables of arms: a sentence each."""
    still = [code(arm) for arm in results.arms if arm in results.facts.get("untrained", [])]
    absent = results.facts.get("missing_floors", {})
    return [
        *(
            [f"Nothing is trained, one run stands for all seeds of a pair: {', '.join(still)}."]
            * bool(still)
        ),
        *(f"No floor {code(name)}: {reason}." for name, reason in absent.items()),
        *_chance(results, [row for rows in measured.values() for row in rows]),
    ]


def survival_part(results: Results, source: str, rows: Sequence[SurvivalRow]) -> Part:
    """Arms and transforms with the share that survives, and in words what it means for the quotes.

    Transforms that applied in too few documents for an interval are counted and left out, unless
    all results have too few documents.
    """
    few = fve.too_few_documents(results)
    told = [row for row in rows if few or not math.isnan(row.fve.low)]
    whole = all(row.coverage == 1 for row in told)
    cells = [
        {
            "arm": code(row.arm),
            "transform": code(row.transform),
            "coverage": ABSENT if whole else percent(row.coverage),
            "FVE, original": bounds(row.original),
            "FVE, transformed": bounds(row.fve),
            "share that survives": ABSENT if _is_wild(row) else bounds(row.share),
        }
        for row in told
    ]
    sentences = [
        f"{code(arm)}, {code(pair[0])} minus {code(pair[1])}: {bounds(effect)}."
        for pair in (VERBATIM, ALL_QUOTES)
        for arm, effect in quote_effects(results, source, pair).items()
        if few or not math.isnan(effect.low)
    ]
    if none := [r for r in told if not math.isnan(r.fve.low) and not r.share.low > 0]:
        said = "Nothing is shown to survive (no interval wholly above zero)"
        sentences.append(f"{said}: {_by_transform(none)}.")
    if worse := [r for r in told if r.fve.high < 0]:
        said = "Worse than answering the mean activation (FVE wholly below zero)"
        sentences.append(f"{said}: {_by_transform(worse)}.")
    if left_out := [row for row in rows if row not in told]:
        said = f"Left out, of fewer than {fve.FEWEST_DOCUMENTS} documents"
        sentences.append(f"{said}: {_by_transform(left_out, coverage=True)}.")
    return Part(writer(source), table(cells), tuple(sentences))


def _is_wild(row: SurvivalRow) -> bool:
    """Whether the own FVE may be zero, so that its share has no interval."""
    return math.isnan(row.share.low) and not math.isnan(row.fve.low)


def swap_part(source: str, rows: Sequence[SwapRow]) -> Part:
    """Arms by swaps: the loss, its share of that by another document's whole explanation.

    And, in sentences, how many explanations have such a part.
    """
    arms = dict.fromkeys(row.arm for row in rows if not math.isnan(row.loss.estimate))
    cells: list[dict[str, str]] = [{"arm": code(arm)} for arm in arms]
    for arm, line in zip(arms, cells, strict=True):
        for row in rows:
            if row.arm == arm:
                share = "" if row.share is None else f"; {100 * row.share:.0f} %"
                line[PARTS[row.transform]] = bounds(row.loss) + share
    shares: dict[str, list[str]] = {}
    for row in rows:
        shares.setdefault(row.arm, []).append(f"{PARTS[row.transform]} {percent(row.coverage)}")
    return Part(writer(source), table(cells), _covered("Explanations that have it", shares))


def prefix_part(source: str, rows: Sequence[PrefixRow]) -> Part:
    """Arms by prefix lengths, with the share of explanations that are so long."""
    arms = dict.fromkeys(row.arm for row in rows)
    cells: list[dict[str, str]] = [{"arm": code(arm)} for arm in arms]
    for arm, line in zip(arms, cells, strict=True):
        for row in rows:
            if row.arm == arm:
                gain = "" if row.marginal is None else f"; {row.marginal:+.4f}"
                line[f"k = {row.tokens}"] = bounds(row.fve) + gain
    return Part(writer(source), table(cells), _lengths(rows))


def measures_part(columns: Mapping[str, Mapping[str, Interval]], arms: Sequence[str]) -> str:
    """Arms by the means of all their measures."""
    return table(
        [
            {"arm": code(arm)} | {title: bounds(found.get(arm)) for title, found in columns.items()}
            for arm in arms
            if any(arm in found for found in columns.values())
        ]
    )


def text_part(results: Results) -> Part | None:
    """Measures of the texts by writer; measures that are zero for all share one sentence."""
    metrics = results.text_metrics
    names = sorted({name for found in metrics.values() for name in found})
    zero = [name for name in names if not any(found.get(name) for found in metrics.values())]
    writers = sorted(metrics, key=lambda name: (name != TEACHER, *_place(results, name)))
    cells = [
        {"measure": label(name)} | {one: fixed(metrics[one].get(name)) for one in writers}
        for name in names
        if name not in zero
    ]
    said = (f"Zero everywhere: {', '.join(map(label, zero))}.",) if zero else ()
    return Part("", table(cells), said) if names else None


def _named(results: Results, row: ArmRow) -> str:
    if not row.is_floor:
        return code(row.arm)
    kind = "ceiling" if row.arm in results.facts.get("ceilings", []) else "floor"
    return f"*{kind}* {code(row.arm)}"


def _place(results: Results, name: str) -> tuple[int, str]:
    """Sort key: arms in their order, then others by name."""
    return results.arms.index(name) if name in results.arms else len(results.arms), name


def _pairs(row: ArmRow) -> str:
    values = row.pairs.values()
    if len(values) < 2:
        return str(len(values))
    return f"{len(values)}: {fixed(min(values))} to {fixed(max(values))}"


def _chance(results: Results, rows: Sequence[ArmRow]) -> list[str]:
    """The results of guessing in retrieval; empty if they, or the distractors, are not known."""
    distractors = results.facts.get("distractors")
    if distractors is None or all(row.top1 is None for row in rows):
        return []
    guesses = [1 / rank for rank in range(1, distractors + 2)]
    chance = f"chance is {fixed(guesses[-1])} and {fixed(sum(guesses) / len(guesses))}"
    return [
        f"top-1 and MRR: the own activation among {distractors} distractors, which share its last"
        f" token or have one that the last token's ridge takes for a like one; {chance}."
    ]


def _by_transform(rows: Sequence[SurvivalRow], coverage: bool = False) -> str:
    """Transforms, each with its arms among `rows`."""
    arms: dict[str, list[str]] = {}
    for row in rows:
        share = f" ({percent(row.coverage)})" if coverage else ""
        arms.setdefault(row.transform, []).append(f"{code(row.arm)}{share}")
    return "; ".join(f"{code(name)} of {', '.join(named)}" for name, named in arms.items())


def _lengths(rows: Sequence[PrefixRow]) -> tuple[str, ...]:
    """Share of the explanations that have so many tokens; by arm only if arms differ."""
    shares: dict[str, list[str]] = {}
    for row in rows:
        shares.setdefault(row.arm, []).append(f"{percent(row.coverage)} (k = {row.tokens})")
    if all(row.coverage == 1 for row in rows):
        return ()
    return _covered("Explanations that have so many tokens", shares)


def _covered(said: str, shares: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A sentence on all arms if they are alike, else one for each."""
    told = {arm: ", ".join(parts) for arm, parts in shares.items()}
    if len(set(told.values())) == 1:
        return (f"{said}: {next(iter(told.values()))}.",)
    return tuple(f"{said}, {code(arm)}: {line}." for arm, line in told.items())
