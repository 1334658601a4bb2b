"""`ar_small_rl` through DVC at the smallest scale: an AV with a window, and ARs of its own."""

import polars as pl
import pytest

from common.data.activations import load_activations
from common.report.results import load_results
from tests.clone import Clone

OWN = "experiments/ar_small_rl/dvc.yaml:ar_small_rl"
ARMS = ("control", "blocks_1", "bag_of_words", "warm_start")
READERS = ("reader_blocks_1", "reader_bag_of_words")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    copy = Clone(tmp_path_factory.mktemp("clone"))
    copy.run("nla", "profile", "smoke")
    return copy


@pytest.mark.slow
def test_the_whole_experiment(clone: Clone):
    ran = clone.repro("experiments/ar_small_rl")
    order = {name: place for place, name in enumerate(ran)}
    assert not {"activations", "explanations", "av", "ar"} & order.keys(), "the profile's trunk"
    for arm in ("blocks_1", "bag_of_words"):
        assert order[f"{OWN}-reader_{arm}"] < order[f"{OWN}-{arm}"]
    assert order[f"{OWN}-window-ar"] < order[f"{OWN}-control"] < order[f"{OWN}-neutral"]
    data, runs = clone.place / "data/smoke", clone.place / "runs/smoke/ar_small_rl"
    table = load_activations(data / "trunks/ar_small_rl/window/activations")
    assert table.schema["window_8"] == pl.Array(pl.Float32, 3 * 64)
    found = load_results(data / "results/ar_small_rl")
    rows, facts = found.rows, found.facts
    assert facts["arms"] == [*ARMS]
    assert facts["pairs"] == 3
    assert set(READERS).isdisjoint(rows["arm"])
    for arm in ARMS:
        assert set(rows.filter(arm=arm)["seed"]) == {0, 1, 2}
    for name in (*READERS, *ARMS):
        assert {file.parent.name for file in (runs / name).glob("*/summary.json")} == {*"012"}
    learned = found.measures.filter(measure="sampled_kl")
    assert learned.filter(arm="blocks_1")["value"].max() > 0
    page = (clone.place / "reports/smoke/ar_small_rl.md").read_text()
    assert "`blocks_1`" in page
    assert "reader_" not in page
    assert clone.repro("experiments/ar_small_rl") == []


@pytest.mark.slow
def test_a_change_of_the_trunks_seeds_runs_its_arms_again(clone: Clone):
    def fewer(values: dict) -> None:
        values["trunks"]["window"]["tuning"]["seeds"] = [0, 1]

    undo = clone.edit("experiments/ar_small_rl/params.yaml", fewer)
    clone.run("nla", "pipeline")
    told = clone.run("dvc", "status", "--json", "--with-deps", "experiments/ar_small_rl")
    assert f"{OWN}-blocks_1" in told
    undo()
    clone.run("nla", "pipeline")
