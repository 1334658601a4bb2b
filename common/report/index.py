"""`reports/README.md`: the questions of the lab and what was found, in one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import NlaError
from common.json_lines import parse_json
from common.paths import EXPERIMENTS
from common.report.markdown import ABSENT, cell, code, table
from common.report.questions import experiments_in, load_questions
from common.report.render import fill_template

NEEDED = ("experiment", "profile")
OLDER, NOT_RUN = "older report", "not yet run"
ANSWER = "sentence"
"""Keys that the entry of an older report lacks."""
Entries = Mapping[str, Sequence[Mapping[str, Any]]]
"""{experiment: the index entries of its reports}."""


def render_index(reports_folder: Path, experiments: Path = EXPERIMENTS) -> None:
    """Write the index of `<profile>/<name>.md`, from the `<name>.json` beside each report.

    Left out are reports that only check the pipeline, and those that are missing (DVC removes a
    report before it is made again). Raises NlaError for an unreadable `<name>.json`, or without
    questions.
    """
    entries = _entries(reports_folder)
    asked = load_questions(experiments)
    known = sorted({*experiments_in(experiments), *entries})
    others = [name for name in known if name not in asked.experiments]
    questions = [
        row
        for one in asked.questions
        for row in _rows(cell(one.question), one.experiments, entries, experiments)
    ]
    text = fill_template(
        "index.md.j2",
        questions=table(questions),
        others=table(_rows("", others, entries, experiments)),
    )
    (reports_folder / "README.md").write_text(text, encoding="utf-8", newline="\n")


def _entries(reports_folder: Path) -> Entries:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for file in sorted(reports_folder.glob("*/*.json")):
        if file.with_suffix(".md").exists() and not (entry := _entry(file)).get("checks_only"):
            found.setdefault(entry["experiment"], []).append(entry)
    return found


def _entry(file: Path) -> dict[str, Any]:
    remedy = "render the report again"
    entry = parse_json(file.read_bytes(), file, remedy)
    if missing := [field for field in NEEDED if field not in entry]:
        raise NlaError(f"index entry lacks {', '.join(missing)}", where=file, remedy=remedy)
    return entry


def _rows(
    question: str, names: Sequence[str], entries: Entries, experiments: Path
) -> list[dict[str, str]]:
    """One row per report, and one for an experiment without any; the first has the question."""
    rows = [
        row
        for name in names
        for row in _reports(entries.get(name, []))
        or [{"answer": NOT_RUN, "report": _link(name, experiments)}]
    ]
    return [{"question": "" if place else question} | row for place, row in enumerate(rows)]


def _reports(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The reports of one experiment; those without an answer share a row."""
    answered = [entry for entry in entries if ANSWER in entry]
    older = [entry for entry in entries if ANSWER not in entry]
    links = ", ".join(_report(entry, entry["profile"]) for entry in older)
    rows = [
        {
            "answer": cell(entry[ANSWER]),
            "key figure": cell(entry.get("key", ABSENT)),
            "profile": entry["profile"],
            "report": _report(entry, code(entry["experiment"])),
        }
        for entry in answered
    ]
    if older:
        rows.append({"answer": OLDER, "report": f"{code(older[0]['experiment'])}: {links}"})
    return rows


def _report(entry: Mapping[str, Any], words: str) -> str:
    return f"[{words}]({entry['profile']}/{entry['experiment']}.md)"


def _link(name: str, experiments: Path) -> str:
    """A link to an experiment that is not yet run, if its folder exists."""
    readme = experiments / name / "README.md"
    there = f"[{code(name)}](../{experiments.name}/{name}/README.md)"
    return there if readme.exists() else code(name)
