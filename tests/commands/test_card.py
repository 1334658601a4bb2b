"""What a release's card tells of its run, from made-up results of the experiment."""

from pathlib import Path

import polars as pl
import pytest

from common.commands.card import goodness, report_of, told_by_report
from common.errors import NlaError
from common.paths import report_file, results_folder
from common.report.markdown import ABSENT
from common.report.publish import published_folder
from common.report.render import fill_template
from common.report.results import Results, save_results
from common.runs import RunFolder
from common.schema import AV, KEY
from tests.report.spoken import spoken_results

RUN = Path("runs/laptop/baseline/control/1")


class MadeRun(RunFolder):
    """Its rows are those of the results."""

    def __init__(self, path: Path, results: Results) -> None:
        super().__init__(path)
        self.results = results

    def table(self, file: Path, columns: object = ()) -> pl.DataFrame:
        _, _, arm, seed = self.identity
        return self.results.rows.filter(arm=arm, seed=int(seed))


@pytest.fixture(scope="module")
def results() -> Results:
    return spoken_results()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_results_the_card_says_less(here: Path, results: Results):
    assert report_of(MadeRun(RUN, results)) is None
    told = told_by_report(None)
    assert told["belongs"] is None
    assert not told["references"]


def test_the_run_stands_beside_the_references(here: Path, results: Results):
    save_results(results_folder("laptop", "baseline"), results)
    found = report_of(MadeRun(RUN, results))
    assert found
    assert (found.arm, found.pair) == ("control", 1)
    assert found.report == "../../reports/laptop/baseline.md"
    told = told_by_report(found)
    lines = told["references"].splitlines()
    assert lines[0] == "| reference | FVE | beyond the last token | beyond the last four tokens |"
    assert not any("control" in line for line in lines)
    assert any(line.startswith("| `last_token` | 0.220 [") for line in lines)
    assert not any("own_blocks_last" in line for line in lines)
    assert told["legend"][1].startswith("`last_token`: a ridge")
    assert "| quotes that end in the true last word | 0." in told["words"]
    assert f"| known facts that are named | {ABSENT} | 0." in told["words"]
    assert told["swaps"].count("\n") == 6
    assert "| the quote | 0." in told["swaps"]


def test_another_arm_of_the_experiment_is_told_as_well(here: Path, results: Results):
    save_results(results_folder("laptop", "baseline"), results)
    found = report_of(MadeRun(Path("runs/laptop/baseline/frozen_ar/0"), results))
    assert found
    assert found.results.arms == ["control"], "as that arm is called there"
    own = results.measures.filter(arm="frozen_ar", seed=0, measure="suffix_1")["value"].mean()
    assert f"true last word | {own:.3f} |" in told_by_report(found)["words"]


def test_published_results_are_enough(here: Path, results: Results):
    save_results(published_folder(report_file("laptop", "baseline")), results)
    assert report_of(MadeRun(RUN, results))


def test_results_of_another_run_are_refused(here: Path, results: Results):
    save_results(results_folder("laptop", "baseline"), results)
    rows = results.rows.with_columns(squared_error=pl.col("squared_error") * 1.01)
    with pytest.raises(NlaError, match=r"of another run.*nla collect baseline --profile laptop"):
        report_of(MadeRun(RUN, results._replace(rows=rows)))
    fewer = results.rows.filter(pl.col(KEY) != results.rows[KEY][0])
    with pytest.raises(NlaError, match="are of another run"):
        report_of(MadeRun(RUN, results._replace(rows=fewer)))


def test_a_round_trip_in_numbers(results: Results):
    own = results.rows.filter(arm="control", seed=1, source=AV, transform="original")
    found = goodness("these files", own, results.facts, 200)
    assert list(found) == ["", "FVE", "beyond the last token", "beyond the last four tokens"]
    fve = 1 - own["error_beyond_1"].mean() / results.facts["variances"]["beyond_1"]
    assert found["beyond the last token"].startswith(f"{fve:.3f} [")
    older = own.with_columns(error_beyond_1=pl.lit(None, pl.Float64))
    assert "beyond the last token" not in goodness("", older, results.facts, 200)


VALUES = {
    "manifest": {"target": "t", "layer": 2, "ranks": {"av": 1, "ar": 2}, "run": "r"}
    | {"run_digest": "d", "commit": "c"},
    "kept": {"av": "99 %", "ar": "99 %"},
    "tuned": {"steps": 2, "other": 3},
    "examples": [{"source": "s", "text": "t", "cosine": 0.5}],
}
NAMES = ("release", "blocks", "profile", "goodness", "activations", "documents", "device")
NAMES += ("corpus", "teacher", "av_examples", "seconds", "min_position")


def card(told: dict, domains: str) -> str:
    of_domains = {"domains": domains, "domain_positions": 60, "domain_chunk": 96}
    plain = dict.fromkeys(NAMES, "x")
    return fill_template("card.md.j2", **VALUES, **plain, **told, **of_domains)


def test_the_card(here: Path, results: Results):
    save_results(results_folder("laptop", "baseline"), results)
    whole = card(told_by_report(report_of(MadeRun(RUN, results))), "| texts | FVE |")
    for said in (
        "belongs to [this report](../../reports/laptop/baseline.md), where it is pair 1",
        "## What its words hold",
        "## Which part of the words the AR uses",
        "## Where it works",
        "  - steps: 2",
    ):
        assert said in whole
    bare = card(told_by_report(None), "")
    for absent in ("this report]", "## What its words", "## Which part", "## Where it works"):
        assert absent not in bare
    assert "other: 3" not in bare
