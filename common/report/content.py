"""What explanations say of their positions: known facts in them, and what can be decoded."""

from common.metrics.statistics import Interval
from common.report.markdown import ABSENT, bounds, code, fixed, label, table
from common.report.paired import measure_means
from common.report.results import Results
from common.report.section import Section

HITS = (
    "content",
    "content_next_top1",
    "content_next_top5",
    "content_title",
    "content_topic",
    "content_syntax",
)
DECODABLE = "decodable"
KINDS = {
    "topic": "topic",
    "syntax": "syntax",
    "next": "kind of next token",
    "ordinal": "number of the sentence",
}
"""What is decoded, in words."""
FLOOR, CEILING, SOURCE = "_shuffled", "_own_activation", "_source_text"
"""Ends of the names of measures: what the same classifier gets from other documents' explanations,
from the activation, and from the source text."""
OF_CONTENT = (*HITS, DECODABLE, *(f"{DECODABLE}_{kind}" for kind in KINDS))


def content_sections(results: Results) -> list[Section]:
    """One section, if anything of it was measured."""
    known = {*results.measures["measure"].unique()}
    parts = [_hits(results)] if known & {*HITS} else []
    parts += [_decoded(results)] if known & {*OF_CONTENT} - {*HITS} else []
    return [Section("What the explanations say", "\n\n".join(parts))] if parts else []


def _hits(results: Results) -> str:
    means = {name: measure_means(results, name) for name in HITS}
    rows = [
        {"arm": code(arm)} | {label(name): bounds(found.get(arm)) for name, found in means.items()}
        for arm in results.arms
        if any(arm in found for found in means.values())
    ]
    return (
        "How often an explanation names a known fact about its position, minus how often another"
        " document's explanation does; *content* is the mean of the five.\n\n" + table(rows)
    )


def _decoded(results: Results) -> str:
    shares = measure_means(results, DECODABLE)
    cells = {words: _kind(results, kind) for kind, words in KINDS.items()}
    rows = [
        {"arm": code(arm), "share": bounds(shares.get(arm))}
        | {words: found.get(arm, ABSENT) for words, found in cells.items()}
        for arm in results.arms
        if arm in shares or any(arm in found for found in cells.values())
    ]
    return (
        "What a linear classifier on the words decodes, trained on explanations of training"
        " activations: balanced accuracy and, in brackets, that of other documents' explanations"
        " (the floor), of the activation itself (the ceiling) and of the source text. *Share* is"
        " the mean of (accuracy - floor) / (ceiling - floor).\n\n" + table(rows)
    )


def _kind(results: Results, kind: str) -> dict[str, str]:
    """{arm: accuracy of one kind of fact beside its references}."""
    name = f"{DECODABLE}_{kind}"
    found = measure_means(results, name)
    beside = [measure_means(results, f"{name}{end}") for end in (FLOOR, CEILING, SOURCE)]
    return {
        arm: f"{bounds(one)} ({', '.join(_estimate(other.get(arm)) for other in beside)})"
        for arm, one in found.items()
    }


def _estimate(interval: Interval | None) -> str:
    return fixed(interval.estimate if interval else None)
