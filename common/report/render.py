"""An experiment's report: generated Markdown and PNG figures, the same bytes each time."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from common.report import drawing, figures, markdown, parts
from common.report.examples import examples
from common.report.results import Results, check_results
from common.report.rule import Rule
from common.report.section import Section
from common.report.tables import (
    ArmRow,
    PrefixRow,
    SurvivalRow,
    arm_table,
    prefix_table,
    survival_table,
)
from common.report.verdict import Verdict
from common.schema import AV, AV_NEUTRAL_AR

TEMPLATES = Path(__file__).parent / "templates"


def render_report(
    results: Results,
    rule: Rule,
    verdict: Verdict,
    sections: Sequence[Section],
    out: Path,
) -> None:
    """Write `out` (`<name>.md`), its figures (`<name>/*.png`) and `<name>.json` for the index.

    The verdict's sentence is what the index shows. Figures of an earlier rendering are removed.
    Raises NlaError where the results lack a column, a fact or the control arm.
    """
    check_results(results, out)
    measured = _measure(results)
    drawn = _draw(results, measured)
    drawn |= {extra.name: extra.figure for section in sections for extra in section.drawings}
    _save_figures(drawn, out.with_suffix(""))
    text = fill_template(
        "report.md.j2",
        question=rule.question,
        decision_rule=rule.words(),
        verdict=verdict,
        findings=_findings(verdict),
        sections=sections,
        folder=out.stem,
        figures=set(drawn),
        **_parts(results, measured),
    )
    _write(out, text)
    entry = {name: results.facts[name] for name in ("experiment", "profile")}
    entry |= {"question": rule.question, "verdict": verdict.sentence}
    shown = json.dumps(entry, indent=2, sort_keys=True, ensure_ascii=False)
    _write(out.with_suffix(".json"), shown + "\n")


def _findings(verdict: Verdict) -> str:
    return markdown.table(
        [
            {
                "clause": row.clause,
                "contrast": row.contrast,
                "measure": row.measure,
                "status": row.status,
                "difference": markdown.bounds(row.difference),
                "p": markdown.amount(row.p_value),
                "seeds": row.seeds or markdown.ABSENT,
            }
            for row in verdict.findings
        ]
    )


def fill_template(name: str, **values: object) -> str:
    """A template of this folder with its values; an unknown name in it is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    text = environment.get_template(name).render(**values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


class _Measured(NamedTuple):
    """The tables of each source of explanations that has rows."""

    arms: dict[str, list[ArmRow]]
    survival: dict[str, list[SurvivalRow]]
    prefixes: dict[str, list[PrefixRow]]


def _measure(results: Results) -> _Measured:
    def of_each_source(build: Callable[[Results, str], list]) -> dict[str, list]:
        return {source: rows for source in results.sources if (rows := build(results, source))}

    arms = of_each_source(arm_table)
    trained = {source: rows for source, rows in arms.items() if not all(r.is_floor for r in rows)}
    return _Measured(trained, of_each_source(survival_table), of_each_source(prefix_table))


def _draw(results: Results, measured: _Measured) -> dict[str, Figure]:
    drawn: dict[str, Figure] = {}
    if measured.arms:
        drawn["fve"] = figures.fve_figure(measured.arms, results.arms)
    if survival := figures.survival_figure(measured.survival, results.arms):
        drawn["survival"] = survival
    if measured.prefixes:
        drawn["prefix"] = figures.prefix_figure(measured.prefixes, results.arms)
    main = measured.arms.get(_main_source(results, measured), [])
    if main and (against_cost := figures.cost_figure(main, results.runs, results.arms)):
        drawn["cost"] = against_cost
    if results.curves.height:
        drawn["curves"] = figures.curves_figure(results.curves, results.arms)
    return drawn


def _main_source(results: Results, measured: _Measured) -> str:
    """The texts that an experiment is about: the teacher's, or those of AVs that it trains."""
    return AV if results.measures.height else next(iter(measured.arms), "")


def _parts(results: Results, measured: _Measured) -> dict[str, object]:
    return {
        "facts": results.facts,
        "zero": markdown.INCLUDES_ZERO,
        "main_writer": markdown.writer(_main_source(results, measured)),
        "neutral": AV_NEUTRAL_AR in measured.arms,
        "arms": [parts.arm_part(results, *item) for item in measured.arms.items()],
        "survival": [parts.survival_part(results, *item) for item in measured.survival.items()],
        "prefixes": [parts.prefix_part(*item) for item in measured.prefixes.items()],
        "examples": examples(results),
        "text_metrics": parts.text_part(results),
        "cost": parts.cost_part(results),
        "tuning": parts.tuning_part(results),
        "provenance": parts.provenance_part(results),
    }


def _save_figures(drawn: dict[str, Figure], folder: Path) -> None:
    for leftover in folder.glob("*.png"):
        leftover.unlink()
    for name, figure in drawn.items():
        drawing.save_figure(figure, folder / f"{name}.png")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
