"""What is published beside a report gives the same report, and the numbers that it holds."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from common.errors import NlaError
from common.paths import report_file, results_folder
from common.report.publish import compact, exact, published_folder, report_results
from common.report.results import Results, save_results
from common.report.tables import arm_table
from tests.report.spoken import spoken_results
from tests.report.test_render import render

README = Path(__file__).parents[2] / "README.md"
PROFILE, NAME = "laptop", "baseline"


@pytest.fixture
def collected(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Results:
    """As a run leaves it, in a repository of its own: errors are measured in single precision."""
    monkeypatch.chdir(tmp_path)
    made = spoken_results()
    measured = pl.col("squared_error", "cosine", "raw_squared_error").cast(pl.Float32)
    results = made._replace(rows=made.rows.with_columns(measured.cast(pl.Float64)))
    save_results(results_folder(PROFILE, NAME), results)
    return results


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_clone_without_runs_renders_the_same_bytes(collected: Results):
    out = report_file(PROFILE, NAME)
    render(report_results(PROFILE, NAME), out)
    before = everything(Path("reports"))
    assert any(name.endswith("results/rows.parquet") for name in before)
    shutil.rmtree("data")
    for file in out.parent.glob(f"{NAME}*.*"):
        file.unlink()
    render(report_results(PROFILE, NAME), out)
    assert everything(Path("reports")) == before


def test_what_was_collected_renders_what_is_published(collected: Results, tmp_path):
    render(report_results(PROFILE, NAME), tmp_path / "published.md")
    render(collected, tmp_path / "collected.md")
    pages = [(tmp_path / f"{name}.md").read_text() for name in ("published", "collected")]
    assert pages[0].replace("published", "collected") == pages[1]


def test_published_tables_hold_numbers_exactly(collected: Results):
    small = compact(collected)
    assert small.rows["squared_error"].dtype == pl.Float32
    assert small.measures["value"].dtype == pl.Float64, "these need all their digits"
    read = [name for name in collected.rows.columns if name not in ("cosine", "raw_squared_error")]
    again = exact(small)
    assert_frame_equal(again.rows.select(read), collected.rows.select(read), check_exact=True)
    original = pl.col("transform") == "original"
    assert_frame_equal(again.rows.filter(original), collected.rows.filter(original))
    assert (
        again.rows.filter(~original)["cosine"].null_count() == again.rows.filter(~original).height
    )
    for name in ("measures", "runs", "trials", "curves", "texts"):
        assert_frame_equal(getattr(again, name), getattr(collected, name), check_exact=True)


def test_newly_collected_results_are_published_anew(collected: Results):
    report_results(PROFILE, NAME)
    changed = collected._replace(facts=collected.facts | {"commit": "another"})
    save_results(results_folder(PROFILE, NAME), changed)
    assert report_results(PROFILE, NAME).facts["commit"] == "another"


def test_published_tables_that_someone_changed_are_refused(collected: Results):
    report_results(PROFILE, NAME)
    shutil.rmtree("data")
    summary = published_folder(report_file(PROFILE, NAME)) / "summary.json"
    summary.write_text(summary.read_text().replace("0123abc", "0123abd"))
    with pytest.raises(NlaError, match=r"summary\.json changed .*from git, or run `nla collect"):
        report_results(PROFILE, NAME)


def test_without_either_the_remedy_is_to_collect(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NlaError, match=r"data/laptop/results/baseline.*nla collect baseline"):
        report_results(PROFILE, NAME)


def test_the_script_of_the_readme_finds_the_fve_of_the_report(collected: Results):
    """The very lines, run where results are published; its draws are not those of the report."""
    section = README.read_text().partition("### Check a number yourself")[2]
    script = section.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in script.splitlines() if line.strip()]) <= 10
    report_results(PROFILE, NAME)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", done.stdout)]
    control = arm_table(collected, "av")[0].fve
    assert control.estimate == pytest.approx(found[0], abs=0.0005)
    assert found[1:] == pytest.approx(control[1:], abs=0.01)
