"""Make the folder of a new experiment; what is special to it is left to write."""

import re
import shutil
from pathlib import Path

from common.commands.pipeline import write_pipeline
from common.errors import NlaError
from common.files import replace_text
from common.params import load_params
from common.paths import EXPERIMENTS
from common.report.readme import BEGIN, END, write_rule

COPIED = ("experiment.py", "params.yaml")
"""From the experiment that it begins as; rule, findings and results of that are left out."""
README = """\
# `{name}`: ...?

**Question.** ...

## Arms

| arm | what differs | question |
|---|---|---|
| `control` | nothing | |

## Decision rule

{begin}
{end}
"""
RULE = '''\
"""The decision rule of `{name}`."""

from common.report.clauses import GREATER, Clause, Correction, EachArm, Phrases
from common.report.measured import Fve, Test
from common.report.rule import Rule

BETTER = "An arm reads better"

RULE = Rule(
    question="...?",
    written="Written before the first run.",
    key=BETTER,
    clauses=(
        Clause(
            BETTER,
            EachArm("control"),
            Fve("av"),
            GREATER,
            test=Test.SIGN_FLIP,
            correction=Correction.HOLM,
            phrases=Phrases("{{arms}} reads better than the control", "no arm is shown to"),
        ),
    ),
)
'''
MAIN = '''\
"""`python -m experiments.{name}`: the whole experiment without DVC, arm after arm."""

from common.cli import run_experiment

if __name__ == "__main__":
    run_experiment("{name}")
'''


def make_experiment(name: str, like: str) -> list[Path]:
    """Write the folder and the pipeline's files; returns the files that were written.

    NlaError for a name that is taken, or is not a valid name of a Python package.
    """
    load_params(like)
    folder = EXPERIMENTS / name
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        remedy = "small letters, digits and underscores make a name"
        raise NlaError(f"{name!r} is no name for an experiment", remedy=remedy)
    if folder.exists():
        remedy = "choose another name, or delete the folder"
        raise NlaError("there is such an experiment", where=folder, remedy=remedy)
    folder.mkdir()
    try:
        for file in COPIED:
            text = (EXPERIMENTS / like / file).read_text()
            replace_text(folder / file, re.sub(rf"\b{like}\b", name, text))
        written = {
            "README.md": README.format(name=name, begin=BEGIN, end=END),
            "rule.py": RULE.format(name=name),
            "__main__.py": MAIN.format(name=name),
            "__init__.py": f'"""The experiment `{name}`."""\n',
        }
        for file, text in written.items():
            replace_text(folder / file, text)
        write_rule(name)
        return [*(folder / file for file in (*COPIED, *written)), *write_pipeline()]
    except BaseException:
        shutil.rmtree(folder)
        raise
