"""A rendered report in MLflow: its verdict as tags and metrics, its page and figures as files."""

import logging
from pathlib import Path
from typing import Any

from common.tracking.client import connect, experiment_called, runs_tagged
from common.tracking.identity import REPORT, Identity
from common.tracking.note import now
from common.tracking.numbers import metric_name
from common.tracking.settings import LONGEST_TAG
from common.tracking.trouble import failures, trouble

logger = logging.getLogger(__name__)


def log_report(profile: str, report: Path, verdict: Any) -> None:
    """Show a report's verdict and files as a run of its experiment, in place of an earlier one.

    Args:
        profile: by name.
        report: the page; its figures lie in a folder of that name beside it.
        verdict: a `common.report.verdict.Verdict`.
    """
    told = Identity(profile, report.stem, "", REPORT)
    try:
        client = connect()
        experiment_id = experiment_called(client, told.experiment)
        for earlier in runs_tagged(client, experiment_id, told.tags):
            client.delete_run(earlier.info.run_id)
        tags = told.tags | _tags(verdict)
        tags["mlflow.source.name"] = f"nla report {told.experiment} --profile {profile}"
        run_id = client.create_run(experiment_id, now(), tags, told.name).info.run_id
        for name, value in _differences(verdict).items():
            client.log_metric(run_id, name, value)
        client.log_artifact(run_id, str(report))
        for figure in sorted(report.with_suffix("").glob("*.png")):
            client.log_artifact(run_id, str(figure), report.stem)
        client.set_terminated(run_id)
    except failures() as error:
        logger.warning("MLflow is off, it does not get the report (%s)", trouble(error))


def _tags(verdict: Any) -> dict[str, str]:
    """The sentence, which is also the description, and `shown` or not for each clause."""
    lines: dict[str, list[str]] = {}
    for one in verdict.findings:
        lines.setdefault(one.clause, []).append(_line(one))
    table = "\n".join(f"- **{clause}**: {'; '.join(told)}" for clause, told in lines.items())
    tags = {"verdict": verdict.sentence, "mlflow.note.content": f"{verdict.sentence}\n\n{table}"}
    tags |= {metric_name(clause): "; ".join(told) for clause, told in lines.items()}
    return {name: value.replace("`", "")[:LONGEST_TAG] for name, value in tags.items()}


def _line(finding: Any) -> str:
    """`shown (control - warm_start: 0.042 [0.031, 0.055])`."""
    figure = ""
    if finding.difference:
        estimate, low, high = finding.difference
        figure = f": {estimate:.3g} [{low:.3g}, {high:.3g}]"
    return f"{finding.status} ({finding.contrast}{figure})"


def _differences(verdict: Any) -> dict[str, float]:
    """`<clause>/<contrast>`: the estimate of the difference."""
    return {
        metric_name(f"{one.clause}/{one.contrast}"): one.difference[0]
        for one in verdict.findings
        if one.difference
    }
