"""An experiment's report: a page, its details and PNG figures; the same bytes each time."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.report import cost_parts, drawing, figures, main_table, page, parts
from common.report.copied import Panel, copied_panels, copied_table
from common.report.damaged import (
    PrefixRow,
    SurvivalRow,
    SwapRow,
    prefix_table,
    survival_table,
    swap_table,
)
from common.report.examples import IN_DETAILS, ON_PAGE, examples
from common.report.fve import too_few_documents
from common.report.legend import legend_lines
from common.report.markdown import INCLUDES_ZERO, label, writer
from common.report.paired import measure_means
from common.report.references import main_source
from common.report.results import Results, check_results
from common.report.rule import Rule
from common.report.section import Drawing, Section
from common.report.tables import ArmRow, arm_table
from common.report.undertrained import training_notes
from common.report.verdict import Verdict
from common.schema import AV_NEUTRAL_AR

TEMPLATES = Path(__file__).parent / "templates"
DETAILS = ".details.md"
MOST_LINES = 150
"""Lengths of a page; examples are left out to stay within it."""
MOST_FIGURES = 3
COPIED = (
    "FVE in copied tokens: where an arm's level meets a curve, it is worth as many copied tokens."
    " The curves are the target's own blocks on the last tokens of the source text alone."
)


def render_report(
    results: Results,
    rule: Rule,
    verdict: Verdict,
    sections: Sequence[Section],
    out: Path,
) -> None:
    """Write `out` (`<name>.md`), `<name>.details.md`, the figures in `<name>/` and `<name>.json`.

    The index reads `<name>.json`. With too few documents there are neither intervals nor a verdict.
    Figures of an earlier rendering are removed. Raises NlaError where the results lack a column, a
    fact or the control arm.
    """
    check_results(results, out)
    few = too_few_documents(results)
    verdict = page.without_statistics(verdict) if few else verdict
    measured = _measure(results, rule)
    own = [one for section in sections for one in section.drawings]
    drawn = _drawings(results, measured, own)
    _save_figures(drawn, out.with_suffix(""))
    shown = [one for one in drawn if one.on_page][:MOST_FIGURES]
    common: dict[str, Any] = {
        "facts": results.facts,
        "few": few,
        "documents": results.documents,
        "folder": out.stem,
        "verdict": page.verdict_part(verdict),
    }
    of_page = [one for one in sections if one.on_page]
    _write(out, _page(results, rule, measured, common | {"figures": shown, "sections": of_page}))
    rest = {one.name: one for one in drawn if one not in shown}
    others = [one for one in sections if not one.on_page]
    details = _details(results, measured) | {"sections": others, "figures": rest}
    findings = page.findings_table(verdict.findings)
    text = fill_template("details.md.j2", rule=rule.words(), findings=findings, **common, **details)
    _write(out.with_name(out.stem + DETAILS), text)
    _write(out.with_suffix(".json"), _entry(results, rule, verdict))


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
    """The tables of each source of explanations with rows, and means of measures by title."""

    arms: dict[str, list[ArmRow]]
    swaps: dict[str, list[SwapRow]]
    survival: dict[str, list[SurvivalRow]]
    prefixes: dict[str, list[PrefixRow]]
    copied: list[Panel]
    columns: main_table.Measured

    def on_page(self, results: Results) -> dict[str, list[ArmRow]]:
        """The sources that the page shows."""
        shown = main_table.page_sources(results)
        return {source: self.arms[source] for source in shown if source in self.arms}


def _measure(results: Results, rule: Rule) -> _Measured:
    def of_each_source(build: Callable[[Results, str], list]) -> dict[str, list]:
        return {source: rows for source in results.sources if (rows := build(results, source))}

    arms = of_each_source(arm_table)
    trained = {source: rows for source, rows in arms.items() if not all(r.is_floor for r in rows)}
    columns = main_table.measured_columns(results, rule)
    main = trained[main_source([*trained])] if trained else []
    return _Measured(
        arms=trained,
        swaps=of_each_source(swap_table),
        survival=of_each_source(survival_table),
        prefixes=of_each_source(prefix_table),
        copied=copied_panels(main),
        columns=columns,
    )


def _drawings(results: Results, measured: _Measured, own: Sequence[Drawing]) -> list[Drawing]:
    """Every figure, the most important ones first."""
    every, on_page = results.arms, measured.on_page(results)
    drawn: list[Drawing | None] = []
    if measured.copied:
        figure = figures.copied_figure(measured.copied, every)
        drawn.append(Drawing("copied", COPIED, figure))
    if on_page:
        caption = "FVE of each arm, beneath it a dot per pair; lines are references."
        drawn.append(Drawing("fve", caption, figures.fve_figure(on_page, every)))
    elif measured.columns:
        figure = figures.measures_figure(measured.columns, every)
        drawn.append(Drawing("measures", "Means of each arm.", figure))
    drawn += own
    survival = figures.survival_figure(measured.survival, every)
    caption = "Share of FVE that survives a change of the text; the axis is cut at -1 and 1.5."
    drawn.append(Drawing("survival", caption, survival, on_page=False) if survival else None)
    if measured.prefixes:
        figure = figures.prefix_figure(measured.prefixes, every)
        drawn.append(Drawing("prefix", "FVE of the first k explanation tokens.", figure))
    main = main_source([*measured.arms]) if measured.arms else ""
    cost = figures.cost_figure(measured.arms[main], results.runs, every) if main else None
    caption = f"FVE ({writer(main)}) against cost."
    drawn.append(Drawing("cost", caption, cost) if cost else None)
    if results.curves.height:
        figure = figures.curves_figure(results.curves, every)
        drawn.append(Drawing("curves", "Training curves, a line per seed.", figure, on_page=False))
    return [one for one in drawn if one]


def _page(results: Results, rule: Rule, measured: _Measured, values: dict[str, Any]) -> str:
    """The page, with as many examples as fit."""
    on_page, columns = measured.on_page(results), measured.columns
    shown = main_table.fve_columns(results, rule, on_page)
    values |= {
        "question": rule.question,
        "arms": main_table.main_table(results, shown, on_page, columns),
        "legend": legend_lines(results, shown, on_page, columns),
        "training": [] if values["few"] else training_notes(results, [*on_page]),
        "sureness": [] if values["few"] else page.sureness(results, rule.cluster),
        "cost": page.cost_lines(results, rule.items, rule.cluster),
    }
    pages = (
        fill_template("page.md.j2", examples=examples(results, 0, count), **values)
        for count in range(ON_PAGE, -1, -1)
    )
    fitting = (text for text in pages if text.count("\n") <= MOST_LINES)
    return next(fitting, "") or fill_template("page.md.j2", examples="", **values)


def _details(results: Results, measured: _Measured) -> dict[str, object]:
    every = [] if measured.arms else sorted({*results.measures["measure"].unique()})
    means = {label(name): measure_means(results, name) for name in every}
    return {
        "zero": INCLUDES_ZERO,
        "neutral": AV_NEUTRAL_AR in measured.arms,
        "arms": parts.arm_parts(results, measured.arms),
        "remarks": parts.arm_remarks(results, measured.arms),
        "measures": parts.measures_part(means, results.arms),
        "copied": copied_table(measured.copied),
        "swaps": [parts.swap_part(*item) for item in measured.swaps.items()],
        "survival": [parts.survival_part(results, *item) for item in measured.survival.items()],
        "prefixes": [parts.prefix_part(*item) for item in measured.prefixes.items()],
        "examples": examples(results, ON_PAGE, IN_DETAILS, every_cosine=True),
        "text_metrics": parts.text_part(results),
        "cost": cost_parts.cost_part(results),
        "runs": [one.name for one in results.runs if one.null_count() < one.len()],
        "tuning": cost_parts.tuning_part(results),
        "provenance": cost_parts.provenance_part(results),
    }


def _entry(results: Results, rule: Rule, verdict: Verdict) -> str:
    """The entry for the index."""
    entry = {name: results.facts[name] for name in ("experiment", "profile")} | {
        "question": rule.question,
        "sentence": verdict.sentence,
        "key": page.key_figure(verdict.key),
        "checks_only": too_few_documents(results),
    }
    return json.dumps(entry, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _save_figures(drawn: Sequence[Drawing], folder: Path) -> None:
    for leftover in [*folder.glob("*.png"), *folder.glob("*.svg")]:
        leftover.unlink()
    for one in drawn:
        if isinstance(one.figure, str):
            _write(folder / one.file, one.figure)
        else:
            drawing.save_figure(one.figure, folder / one.file)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
