"""`reports/README.md`: every report, its verdict in each profile side by side."""

from pathlib import Path

from common.errors import NlaError
from common.json_lines import parse_json
from common.report.markdown import ABSENT, cell, code, table
from common.report.render import fill_template

UNLISTED = ("smoke",)
"""Profiles that test the machinery and show nothing; their reports are not kept in git."""
FIELDS = ("experiment", "profile", "question", "verdict")


def render_index(reports_folder: Path) -> None:
    """Write the index of `<profile>/<name>.md`, read off the `<name>.json` beside each report.

    One whose report is missing (DVC removes a report before it is made again) is left out. Raises
    NlaError for an unreadable `<name>.json`.
    """
    files = [file for file in sorted(reports_folder.glob("*/*.json")) if _is_listed(file)]
    entries = [_entry(file) for file in files]
    by_report = {(entry["experiment"], entry["profile"]): entry for entry in entries}
    questions = {entry["experiment"]: entry["question"] for entry in entries}
    profiles = sorted({entry["profile"] for entry in entries})
    listed = table(
        [
            {"experiment": code(name), "question": cell(question)}
            | {profile: _verdict(by_report.get((name, profile))) for profile in profiles}
            for name, question in sorted(questions.items())
        ]
    )
    text = fill_template("index.md.j2", table=listed or "No report yet.")
    (reports_folder / "README.md").write_text(text, encoding="utf-8", newline="\n")


def _is_listed(file: Path) -> bool:
    return file.parent.name not in UNLISTED and file.with_suffix(".md").exists()


def _entry(file: Path) -> dict[str, str]:
    remedy = "render the report again"
    entry = parse_json(file.read_bytes(), file, remedy)
    if missing := [field for field in FIELDS if field not in entry]:
        raise NlaError(f"index entry lacks {', '.join(missing)}", where=file, remedy=remedy)
    return entry


def _verdict(entry: dict[str, str] | None) -> str:
    """The first line of the verdict and a link to its report."""
    if entry is None:
        return ABSENT
    line = cell(entry["verdict"].strip().partition("\n")[0])
    return f"{line} ([report]({entry['profile']}/{entry['experiment']}.md))"
