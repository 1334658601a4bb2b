"""The wording of a decision rule in its experiment's README, between two comments.

`python -m common.report.readme <name>` writes it again after an intended change of rule.py.
"""

import sys
from pathlib import Path

from common.errors import NlaError
from common.files import replace_text
from common.paths import EXPERIMENTS
from common.report.rule import load_rule

BEGIN, END = "<!-- decision rule, made from rule.py -->", "<!-- end of the decision rule -->"


def rule_of(readme: Path) -> str:
    """The text between the comments; NlaError where one is missing."""
    return _parts(readme)[1].strip()


def write_rule(name: str) -> None:
    """Put `load_rule(name).words()` into the README of an experiment; the rest is unchanged."""
    readme = EXPERIMENTS / name / "README.md"
    before, _, after = _parts(readme)
    replace_text(readme, f"{before}{BEGIN}\n\n{load_rule(name).words()}\n\n{END}{after}")


def _parts(readme: Path) -> tuple[str, str, str]:
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    rule, end, after = rest.partition(END)
    if not begin or not end:
        remedy = f"put `{BEGIN}` and `{END}` on lines of their own"
        raise NlaError("no place for the decision rule", where=readme, remedy=remedy)
    return before, rule, after


if __name__ == "__main__":
    for experiment in sys.argv[1:]:
        write_rule(experiment)
