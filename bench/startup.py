"""What a user waits for before any work: `nla --help`, and a report."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from bench.timing import Rates, alternate
from common.report.render import render_report
from common.report.results import Results

HELP, REPORT = "nla --help", "report"
GOALS = {HELP: 1.0, REPORT: 10.0}
"""Seconds."""
COPIES = 3
"""So many times the documents of the tests' made-up results: 180, as a laptop run has 150."""
COMMANDS = {
    HELP: [str(Path(sys.executable).with_name("nla")), "--help"],
    REPORT: [sys.executable, "-m", "bench.startup"],
}
ROOT = Path(__file__).parent.parent


def measure_startup(rounds: int) -> Rates:
    """Seconds of each command as a process of its own, imports and all."""
    units = {name: lambda _, one=command: _seconds(one) for name, command in COMMANDS.items()}
    return alternate(units, rounds, "startup")


def full_size_results(copies: int = COPIES) -> Results:
    """Three arms, three floors, three seeds, eleven transforms, two writers."""
    from tests.report.synthetic import synthetic_results

    made = synthetic_results()
    named = [pl.col("doc_id", "key") + f"/{copy}" for copy in range(copies)]
    rows = pl.concat([made.rows.with_columns(names) for names in named])
    return made._replace(rows=rows, facts=made.facts | {"resamples": 2000})


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.md"
        from tests.report.golden import RULE

        results = full_size_results()
        render_report(results, RULE, RULE.judge(results), [], out)
