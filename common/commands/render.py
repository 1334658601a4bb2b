"""Render an experiment's report and the index, and show the verdict in MLflow."""

from pathlib import Path

from common.paths import report_file
from common.profile import Profile
from common.report.index import render_index
from common.report.publish import report_results
from common.report.render import render_report
from common.report.rule import Rule, special_sections
from common.tracking.report import log_report


def render(experiment: str, profile: Profile, rule: Rule) -> Path:
    """Write the report; returns its file."""
    results, out = report_results(profile.name, experiment), report_file(profile.name, experiment)
    verdict = rule.judge(results)
    render_report(results, rule, verdict, special_sections(experiment, results), out)
    render_index(out.parent.parent)
    log_report(profile.name, out, verdict)
    return out
