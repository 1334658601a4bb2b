"""The golden report: `python -m tests.report.golden` writes it anew after an intended change."""

import tempfile
from pathlib import Path

from common.report.clauses import GREATER, Clause, EachArm, Pairs, Phrases
from common.report.measured import ROUND_TRIP
from common.report.render import render_report
from common.report.rule import Rule
from common.report.section import Section
from tests.report.synthetic import synthetic_results

RULE = Rule(
    question="Does an AR that also reads the input explain more?",
    written="Written before the run.",
    clauses=(
        Clause(
            "An arm reads more",
            EachArm(),
            ROUND_TRIP,
            GREATER,
            pairs=Pairs.SHARED,
            phrases=Phrases("{arms} reads more than the control", "no arm reads more"),
        ),
    ),
)
FOLDER = Path(__file__).parents[1] / "golden"
PAGES = ("report.md", "report.details.md")


def render_synthetic(out: Path) -> None:
    render_report(
        synthetic_results(),
        rule=RULE,
        verdict=RULE.judge(synthetic_results()),
        sections=[Section("What the experiment adds", "A paragraph with *emphasis*.")],
        out=out,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        render_synthetic(Path(folder) / PAGES[0])
        for name in PAGES:
            (FOLDER / name).write_bytes((Path(folder) / name).read_bytes())
