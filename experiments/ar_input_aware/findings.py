"""Sections of the report of `ar_input_aware`: what words add along the axis, and what they say."""

from math import log2

import polars as pl

from common.metrics.statistics import Interval
from common.report.examples import marked, shown_ending
from common.report.markdown import ABSENT, bounds, code, fixed, table
from common.report.paired import measure_means, measures_by_arm
from common.report.results import CONTROL, Results
from common.report.section import Drawing, Section
from common.report.tables import ArmRow, arm_table
from common.schema import AV, KEY, TEACHER

WRITERS = {AV: "AV text", TEACHER: "teacher text"}
NOTHING = Interval(0.0, 0.0, 0.0)
WHOLE = "own_blocks"
"""The reference that sees the whole input: the degenerate end of the axis."""
SHOWN = 10
"""Activations whose explanation is shown beside what it is worth under each view."""
SAID = {
    "visible": "in the window",
    "hidden": "only in the rest",
    "near_visible": "similar to a word of the window",
    "near_hidden": "similar to a word of the rest",
    "quoted_visible": "quoted, in the window",
    "quoted_hidden": "quoted, only in the rest",
}
"""Measures of words by where they stand; see ar_variants/input_aware/axis.py."""
READ = (
    "FVE and FVE beyond the last tokens of an arm with a view are those of words *and* view: they"
    " say nothing of words. What words add is conditional FVE (*beside the view*): the share of"
    " what the view leaves open that they fill. The figure shows it along the axis of views;"
    " `control` sees nothing, and its share is its FVE."
)
LABELS = {
    "next": "kind of next token",
    "syntax": "syntax",
    "topic": "topic",
    "ordinal": "number of the sentence",
}
"""What a classifier guesses from the window, with and without the explanation."""


def sections(results: Results) -> list[Section]:
    """What words add to each view, where the words stand, and ten explanations."""
    known = {*results.measures["measure"].unique()}
    found = []
    if "view_known" in known:
        found = [Section("How to read the arms", READ, on_page=True), _axis(results)]
    if windows := _windows(known):
        found += [_words(results, windows), _guessed(results, windows)]
    return [*found, *_explanations(results)]


def _axis(results: Results) -> Section:
    """Conditional FVE against what the view alone explains."""
    from common.report.spoken_figures import plane_figure  # heavy, and every run imports this file

    view = measure_means(results, "view_known")
    panels, tables = {}, []
    for source, texts in WRITERS.items():
        rows = {row.arm: row for row in arm_table(results, source)}
        found = measure_means(results, f"conditional_{source}")
        points = {arm: (view[arm], found[arm]) for arm in results.arms if arm in found}
        if CONTROL in rows and 0 in rows[CONTROL].beyond:
            points = {CONTROL: (NOTHING, rows[CONTROL].beyond[0])} | points
        panels[f"Conditional FVE, {texts}"] = points
        tables.append(f"**{texts}**\n\n{_added(results, source, points)}")
    levels = {WHOLE: rows[WHOLE].fve.estimate} if WHOLE in (rows := _rows(results)) else {}
    text = (
        "*Conditional FVE* is the share of what the view leaves open that the words fill: the view"
        " is the fitted sum of closed forms and of the AR without words and beside other words."
        " `control` sees nothing: all is left open, and the share is its FVE with the best length."
        " Bits as if residuals varied equally in all directions: to be compared only.\n\n"
        + _views(results)
    )
    figure = plane_figure(panels, "FVE of the view alone", results.arms, levels)
    caption = (
        "What words add against what the view alone explains; the upright line is the degenerate"
        " end, the target's own blocks on the whole input."
    )
    drawing = Drawing("axis", caption, figure)
    return Section("What words add to a view", "\n\n".join([text, *tables]), (drawing,))


def _rows(results: Results) -> dict[str, ArmRow]:
    return {row.arm: row for row in arm_table(results, AV)}


def _views(results: Results) -> str:
    """What is known without words."""
    titles = {
        "view_closed": "closed form",
        "view_read": "AR without words",
        "view_gain": "AR minus closed form",
        "view_known": "both",
    }
    means = {title: measure_means(results, name) for name, title in titles.items()}
    cells = [
        {"view": code(arm)} | {title: bounds(found.get(arm)) for title, found in means.items()}
        for arm in results.arms
        if any(arm in found for found in means.values())
    ]
    return "FVE of the view alone, with the answer's best length:\n\n" + table(cells)


def _added(results: Results, source: str, points: dict[str, tuple[Interval, Interval]]) -> str:
    titles = {
        f"words_alone_{source}": "FVE of the words alone",
        f"conditional_{source}_swapped": "of another document",
        f"conditional_{source}_elsewhere": "of another position",
    }
    means = {title: measure_means(results, name) for name, title in titles.items()}
    return table(
        [
            {"view": code(arm), "conditional FVE": bounds(found), "bits": _bits(results, found)}
            | {title: bounds(found.get(arm)) for title, found in means.items()}
            for arm, (_, found) in points.items()
        ]
    )


def _bits(results: Results, share: Interval) -> str:
    """Bits that the words save, under a residual of equal variance in all directions."""
    width = results.facts.get("d_model")
    if width is None or share.estimate >= 1:
        return ABSENT
    return f"{-width / 2 * log2(1 - share.estimate):.0f}"


def _windows(known: set[str]) -> list[int]:
    """The windows for which words were looked for, in tokens."""
    start = f"visible_{AV}_"
    return sorted(int(name.removeprefix(start)) for name in known if name.startswith(start))


def _of_control(results: Results, name: str) -> Interval | None:
    return measure_means(results, name).get(CONTROL)


def _words(results: Results, windows: list[int]) -> Section:
    """Where the words of an explanation stand, for each window."""
    from common.report.spoken_figures import lines_panels

    cells, panels = [], {}
    for name, title in SAID.items():
        lines = {}
        for source, texts in WRITERS.items():
            found = {w: _of_control(results, f"{name}_{source}_{w}") for w in windows}
            row = {"words": title, "of": texts}
            cells.append(row | {f"{w} tokens": bounds(one) for w, one in found.items()})
            if points := [(w, one) for w, one in found.items() if one is not None]:
                lines[source] = points
        if lines:
            panels[f"Words {title}"] = lines
    text = (
        "Share of an explanation's content words (of those that stand nowhere in the input, for"
        " similar ones; of those in quotation marks, for quoted ones) that stand in the last tokens"
        " of the input, or only before them, minus the same share of another document's"
        " explanation.\n\n" + table(cells)
    )
    caption = "Where an explanation's words stand, beyond chance, by the size of the window."
    figure = lines_panels(panels, "last tokens that are visible", [*results.arms, AV, TEACHER])
    drawing = Drawing("words", caption, figure)
    return Section("What the explanations repeat of the input", text, (drawing,))


def _guessed(results: Results, windows: list[int]) -> Section:
    """What a classifier guesses better with the explanation."""
    cells = []
    for name, title in LABELS.items():
        for source, texts in WRITERS.items():
            found = {w: _of_control(results, f"adds_{name}_{source}_{w}") for w in windows}
            if any(found.values()):
                row = {"guessed": title, "with": texts}
                cells.append(row | {f"{w} tokens": bounds(one) for w, one in found.items()})
    text = (
        "Balanced accuracy of a linear classifier on the words of the last tokens and of the"
        " explanation, minus that of one on the words of the last tokens alone; both are fitted to"
        " the same training activations. Words have no order for it; the last token stands apart."
        "\n\n" + table(cells)
    )
    return Section("Beyond the view", text)


def _explanations(results: Results) -> list[Section]:
    """The AV's explanation of ten activations, and what it saves under each view."""
    saved = measures_by_arm(results, f"conditional_{AV}")
    arms = [arm for arm in results.arms if arm in saved]
    if not arms or results.texts.is_empty():
        return []
    values = {arm: dict(saved[arm].select(KEY, "value").iter_rows()) for arm in arms}
    control = _control_saves(results)
    cells = []
    for text in results.texts.head(SHOWN).to_dicts():
        key, source = text[KEY], text["source_text"]
        worth = {CONTROL: control.get(key), **{arm: values[arm].get(key) for arm in arms}}
        cells.append(
            {"source": shown_ending(source), "AV text": marked(text[AV], source)}
            | {code(arm): fixed(one) for arm, one in worth.items()}
        )
    text = (
        "One AV text for each activation; beside it the share of the mean error of the view that"
        " it saves on this activation (`control`: of the error of the mean direction). Their means"
        " are the conditional FVE; below 0 the words mislead.\n\n" + table(cells)
    )
    return [Section("Ten explanations under each view", text)]


def _control_saves(results: Results) -> dict[str, float]:
    """{key: what the control's answer saves of the variance}, a mean over seeds."""
    rows = results.rows.filter("applied", arm=CONTROL, source=AV, transform="original")
    variance = results.facts["variance"]
    means = rows.group_by(KEY).agg(1 - pl.col("error_beyond_0").mean() / variance)
    return dict(means.iter_rows())
