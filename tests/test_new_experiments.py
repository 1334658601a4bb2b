"""Experiments of other kinds than ours: folders that are copied in, and nothing else is edited."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.clone import Clone

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """With both, and what `nla pipeline` writes."""
    copy = Clone(tmp_path_factory.mktemp("clone"))
    copy.run("nla", "profile", "smoke")
    for folder in FIXTURES.iterdir():
        shutil.copytree(folder, copy.place / "experiments" / folder.name)
        copy.run("python", "-m", "common.report.readme", folder.name)
    copy.run("nla", "pipeline")
    return copy


@pytest.mark.slow
def test_scorers_are_judged_without_any_activation(clone: Clone):
    ran = clone.repro("experiments/label_scorers")
    assert "target" not in ran, "nothing of the trunk is needed"
    results = clone.place / "data/smoke/results/label_scorers"
    assert pl.read_parquet(results / "rows.parquet").height == 0
    text = (clone.place / "reports/smoke/label_scorers.md").read_text()
    assert "`keen` tells the items apart better than the control" in text
    assert "FVE" not in text
    assert clone.repro("experiments/label_scorers") == []


@pytest.mark.slow
def test_avs_with_slots_and_a_format_of_their_own(clone: Clone):
    ran = clone.repro("experiments/av_slots")
    own = {name.partition(":")[2] for name in ran if ":" in name}
    stages = ("explanations", "av", "av_text", "ar")
    assert {f"av_slots-lines-{stage}" for stage in stages} <= own
    assert not {f"av_slots-lines-{stage}" for stage in ("target", "corpus", "activations")} & own
    data = clone.place / "data" / "smoke"
    shared = pl.read_parquet(data / "explanations.parquet")
    lines = pl.read_parquet(data / "trunks" / "av_slots" / "lines" / "explanations.parquet")
    assert shared["key"].equals(lines["key"])
    assert lines["explanation"].str.contains("\n").any()
    assert not shared["explanation"].str.contains("\n").any()
    measures = pl.read_parquet(data / "results" / "av_slots" / "measures.parquet")
    assert set(measures["arm"]) == {"control", "repeat_2", "lines"}
    assert {"true_loss", "shuffled_loss", "tokens"} <= set(measures["measure"])
    assert "A second slot helps" in (clone.place / "reports/smoke/av_slots.md").read_text()


@pytest.mark.slow
def test_a_new_experiment_is_made_by_a_command(clone: Clone):
    clone.run("nla", "new", "mine", "--like", "ar_small")
    made = {file.name for file in (clone.place / "experiments" / "mine").iterdir()}
    assert {"README.md", "experiment.py", "rule.py", "params.yaml", "dvc.yaml"} <= made
    assert not {"dvc.lock", "findings.py"} & made
    told = clone.run("dvc", "status", "--json", "experiments/mine")
    assert "experiments/mine" in told
