"""The golden report: `python -m tests.report.golden` writes it anew after an intended change."""

from pathlib import Path

from common.report.render import render_report
from common.report.section import Section
from tests.report.synthetic import synthetic_results

GOLDEN = Path(__file__).parents[1] / "golden" / "report.md"


def render_synthetic(out: Path) -> None:
    render_report(
        synthetic_results(),
        question="Does an AR that also reads the input explain more?",
        decision_rule="Yes, if the interval of FVE minus control on AV text lies above zero.",
        verdict="**Yes** for `input_aware`.\n`small` shows no difference.",
        sections=[Section("What the experiment adds", "A paragraph with *emphasis*.")],
        out=out,
    )


if __name__ == "__main__":
    render_synthetic(GOLDEN)
    GOLDEN.with_suffix(".json").unlink()
    for figure in GOLDEN.with_suffix("").iterdir():
        figure.unlink()
    GOLDEN.with_suffix("").rmdir()
