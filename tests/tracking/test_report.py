from pathlib import Path
from typing import Any

import pytest

from common.metrics.statistics import Interval
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, SHOWN, Finding, Verdict
from common.tracking.report import log_report
from tests.tracking.folders import runs

pytestmark = pytest.mark.usefixtures("client")
FINDINGS = (
    Finding("It's read", "`a` - `b`", "FVE", SHOWN, Interval(0.0421, 0.03, 0.055), None, ""),
    Finding("It's read", "`c` - `b`", "FVE", NOT_SHOWN, Interval(-0.01, -0.03, 0.1), None, ""),
    Finding("It quotes", "`a`", "share", NOT_MEASURED, None, None, ""),
)


def page(tmp_path: Path) -> Path:
    report = tmp_path / "reports" / "smoke" / "told.md"
    (report.with_suffix("")).mkdir(parents=True)
    report.write_text("# told\n")
    (report.with_suffix("") / "fve.png").write_bytes(b"png")
    return report


def test_a_report_tells_its_verdict_and_replaces_an_earlier_one(client: Any, tmp_path: Path):
    report = page(tmp_path)
    log_report("smoke", report, Verdict("Nothing was measured.", ()))
    log_report("mini", report, Verdict("Nothing was measured.", ()))
    log_report("smoke", report, Verdict("`a` is read.", FINDINGS))
    (run,) = runs(client, "told", kind="report", profile="smoke")
    assert len(runs(client, "told")) == 2
    assert (run.info.run_name, run.info.status) == ("report (smoke)", "FINISHED")
    tags = run.data.tags
    assert tags["verdict"] == "a is read."
    assert tags["Its read"] == (
        "shown (a - b: 0.0421 [0.03, 0.055]); not shown (c - b: -0.01 [-0.03, 0.1])"
    )
    assert tags["It quotes"] == "not measured (a)"
    assert tags["mlflow.note.content"].startswith("a is read.\n\n- **It's read**: shown (a - b")
    assert tags["mlflow.source.name"] == "nla report told --profile smoke"
    assert run.data.metrics == {"Its read/a - b": 0.0421, "Its read/c - b": -0.01}
    files = [file.path for file in client.list_artifacts(run.info.run_id)]
    assert sorted(files) == ["told", "told.md"]
