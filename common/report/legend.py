"""What the columns and the reference rows of a page's main table mean, a line each."""

from collections.abc import Sequence

from common.report.copied import copied_panels, worth_line
from common.report.main_table import (
    Column,
    Measured,
    Tables,
    has_pairs,
    pairs_measure,
)
from common.report.markdown import code, fixed, label
from common.report.references import LEGEND, SHUFFLED, main_source
from common.report.results import Results
from common.schema import AV_NEUTRAL_AR

OF_MEASURES = {
    "suffix_1": "how often the quote at which the text is said to stop ends in the source text's"
    " true last word",
    "content": "how much more often an explanation names what is known of its position (next token,"
    " title, topic, syntax) than another document's explanation does",
}
"""Explanations of the measures beside FVE."""


def legend_lines(
    results: Results, shown: Sequence[Column], tables: Tables, measured: Measured
) -> list[str]:
    """Explanations of the columns and the reference rows, a line each; empty without FVE."""
    if not shown:
        return []
    lines = [
        "FVE is the share of the activations' variance that the AR gives back from the words: 1 is"
        " perfect, 0 is the error of answering the mean."
    ]
    if any(column.beyond for column in shown):
        lines.append(
            "FVE *beyond the last token* (the last four tokens): of what these tokens of the source"
            " text leave open, the share the explanation fills; repeating them scores 0."
        )
    if AV_NEUTRAL_AR in tables:
        lines.append(_of_neutral_ars(results))
    if has_pairs(results):
        lines.append(
            "Pairs: how many warm-started pairs of AV and AR, and the range of"
            f" *{pairs_measure(results, tables)}* over them."
        )
    lines += [
        f"{label(name)[:1].upper()}{label(name)[1:]}: {words}."
        for name, words in OF_MEASURES.items()
        if label(name) in measured
    ]
    return [*lines, *_of_retrieval(results, tables), *_of_references(results, tables)]


def _of_neutral_ars(results: Results) -> str:
    count = len(results.readers(AV_NEUTRAL_AR))
    those = "One neutral AR is" if count == 1 else f"The {count} neutral ARs are"
    mean = "" if count == 1 else "; their mean is shown"
    return f"{those} the same for all arms, trained on the explanations of every arm{mean}."


def _of_retrieval(results: Results, tables: Tables) -> list[str]:
    distractors = results.facts.get("distractors")
    if not distractors or all(row.top1 is None for rows in tables.values() for row in rows):
        return []
    return [
        "Top-1: how often the reconstruction is nearer to its own activation than to"
        f" {distractors} others whose texts end in the same token, or a like one (chance"
        f" {fixed(1 / (distractors + 1))})."
    ]


def _of_references(results: Results, tables: Tables) -> list[str]:
    """What the reference rows do, and how many copied tokens each arm is worth."""
    present = [name for name in (*results.floors, SHUFFLED) if name in LEGEND]
    told = "; ".join(f"{code(name)}, {LEGEND[name]}" for name in present)
    worth = worth_line(copied_panels(tables[main_source([*tables])]))
    return [*([f"References: {told}."] if present else []), *([worth] if worth else [])]
