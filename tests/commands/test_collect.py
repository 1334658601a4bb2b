"""From finished runs to the tables of a report."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from common.arms.arm import Arm
from common.arms.floors import TrunkFloors
from common.arms.reconstructor import ReconstructorArm
from common.commands.asked import arms_asked
from common.commands.collect import collect, under_all_seeds
from common.data.batches import Example
from common.errors import NlaError
from common.evaluation.last_tokens import COUNTS
from common.experiment import load_experiment
from common.lifecycle.make import make_run
from common.params import CONTROL
from common.paths import TrunkPlaces
from common.profile import Profile
from common.report.results import load_results
from common.schema import AV, AV_NEUTRAL_AR, TEACHER
from common.stages.run import run_stage
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, plan_of, run_of
from tests.own_experiments import own_experiments

BLOCKS = {f"own_blocks_last_{count}{kind}" for count in COUNTS for kind in ("", "_linear")}
OF_SOURCE = {"last_token", "last_token_few", "next_tokens", "own_blocks"} | BLOCKS
FLOORS = {
    "mean_direction",
    "tfidf_ridge",
    "embedding_ridge",
    "look_up",
    "nearest_words",
} | OF_SOURCE


class StillArm(ReconstructorArm):
    """Nothing learns."""

    learns = False


class PlainArm(Arm):
    """It reads nothing of a trunk, either."""


def named(kind: type[Arm], smoke: Profile, name: str, seeds: tuple[int, ...]) -> Arm:
    return kind(plan_of(smoke, name, seeds))


def copied(arms: list[Arm], made: dict[str, list[int]]) -> list[tuple[str, int, int]]:
    """Arm, seed and the number of the row that stands there."""
    runs = [(arm, seed) for arm, seeds in made.items() for seed in seeds]
    table = pl.DataFrame(runs, schema=["arm", "seed"], orient="row").with_row_index("value")
    return under_all_seeds(table, arms).select("arm", "seed", "value").sort("arm", "seed").rows()


def test_a_run_in_which_nothing_learns_stands_under_all_seeds_of_its_pair(smoke: Profile):
    seeds = (0, 1, 2, 3)
    control = named(ReconstructorArm, smoke, "control", seeds)
    start = named(StillArm, smoke, "start", seeds)
    assert control.seeds == control.paired_seeds == start.paired_seeds == seeds
    assert start.seeds == (0, 1)
    found = copied([control, start], {"control": [0, 1, 2, 3], "start": [0, 1]})
    expected = [("control", 0, 0), ("control", 1, 1), ("control", 2, 2), ("control", 3, 3)]
    assert found == [*expected, ("start", 0, 4), ("start", 1, 5), ("start", 2, 4), ("start", 3, 5)]


def test_a_run_that_reads_no_pair_stands_under_all_seeds(smoke: Profile):
    plain = named(PlainArm, smoke, "plain", (0, 1, 2))
    assert plain.seeds == (0,)
    found = copied([plain], {"plain": [0]})
    assert found == [("plain", 0, 0), ("plain", 1, 0), ("plain", 2, 0)]


def test_floors_are_those_of_each_pair_and_why_one_is_missing_is_kept(
    smoke: Profile, copied_places: TrunkPlaces, monkeypatch: pytest.MonkeyPatch
):
    arm = named(ReconstructorArm, smoke, "control", (0, 1, 2))
    run_stage("floors", choose_trunk(smoke))
    told = TrunkFloors().collect([arm])
    assert told.rows is not None
    assert set(told.rows["arm"]) == FLOORS
    assert set(told.rows["seed"]) == {0, 1}, "the first of each pair"
    assert told.facts == {"missing_floors": {}}
    keys = [example.key for example in Trunk(choose_trunk(smoke)).ar_examples()]
    distinct = [Example(key, f"word{number}") for number, key in enumerate(keys)]
    monkeypatch.setattr(Trunk, "ar_examples", lambda *_: distinct)
    with pytest.raises(NlaError, match=r"examples is .*dvc repro floors"):
        TrunkFloors().collect([arm])
    run_stage("floors", choose_trunk(smoke))
    told = TrunkFloors().collect([arm])
    assert told.rows is not None
    missing = {"tfidf_ridge", "look_up", "nearest_words"}
    assert set(told.rows["arm"]) == FLOORS - missing
    reason = f"no word stands in two of the {len(keys)} texts"
    assert told.facts == {"missing_floors": dict.fromkeys(missing, reason)}


def test_rows_of_all_runs_and_floors_are_gathered(copied_warm: Path, two_steps: Profile):
    own_experiments(copied_warm, {"arms": {CONTROL: {"hidden": 8}, "narrow": {"hidden": 4}}})
    one = load_experiment("ar_small")
    for arm in one.arms_at(two_steps):
        for seed in arm.seeds:
            run_of(arm, seed)
    collect(one, two_steps)
    folder = Path("data/smoke/results/ar_small")
    results = load_results(folder)
    assert results.arms == [CONTROL, "narrow"]
    written = {"nearest_text", "next_tokens_text"}
    assert set(results.rows["arm"]) == {CONTROL, "narrow"} | FLOORS | written
    assert set(results.floors) == FLOORS | written
    assert set(results.sources) == {TEACHER, AV}, "reference writers are arms"
    read = results.rows.filter(arm="nearest_text")
    assert set(read["source"]) == {TEACHER, AV}
    assert set(read["seed"]) == {0, 1}
    assert set(results.facts["variances"]) == {"beyond_0", "beyond_1", "beyond_4"}
    assert set(results.rows.filter(arm="narrow")["seed"]) == {0, 1}
    assert sorted(results.runs.select("arm", "seed").rows()) == [
        (arm, seed) for arm in (CONTROL, "narrow") for seed in (0, 1)
    ]
    assert set(results.curves["metric"]) == {"train_loss", "dev_fve"}
    assert results.runs["train_seconds"].min() > 0
    assert results.facts["pairs"] == 2
    assert results.facts["adopted"] == []
    assert results.facts["digests"]["av_text"]
    assert set(results.text_metrics) == {TEACHER, AV}
    told = json.loads((folder / "metrics.json").read_text())
    assert {f"narrow/{AV}_fve", f"own_blocks/{TEACHER}_fve"} <= set(told)
    assert told[f"own_blocks/{AV}_beyond_1"] > 0.9


def test_a_run_that_is_not_todays_is_named(copied_warm: Path, two_steps: Profile):
    own_experiments(copied_warm, {"arms": {CONTROL: {"hidden": 8}}})
    one = load_experiment("ar_small")
    with pytest.raises(NlaError, match=r"not been made \[runs/smoke/ar_small/control/0\]"):
        collect(one, two_steps)
    for seed in (0, 1):
        run_of(one.arm(CONTROL, two_steps), seed)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    with pytest.raises(NlaError, match=r"a run of other evaluation than today's.*nla run ar_small"):
        collect(one, other)


@pytest.fixture
def taken_over(copied_warm: Path) -> dict[str, Any]:
    """`ar_small_rl`, whose second arm is `warm_start` of `baseline`."""
    arms = {CONTROL: {"kind": "policy", "steps": 0}, "borrowed": {"from": "baseline/warm_start"}}
    lender = {"arms": {CONTROL: {"trained": "both"}, "warm_start": {"trained": "nobody"}}}
    small = {"arms": {CONTROL: {"hidden": 8}}}
    own_experiments(copied_warm, small, baseline=lender, ar_small_rl={"arms": arms})
    return arms


def test_an_arm_that_is_taken_over_appears_under_its_own_label_and_is_not_run(
    taken_over: dict, two_steps: Profile, capsys: pytest.CaptureFixture[str]
):
    one = load_experiment("ar_small_rl")
    control, borrowed = one.arms_at(two_steps)
    lender = arm_named("baseline/warm_start", two_steps)
    assert (borrowed.label, borrowed.name) == ("borrowed", "warm_start")
    assert borrowed.run_folder(0).path == lender.run_folder(0).path
    for seed in (0, 1):
        make_run(lender, seed)
        make_run(control, seed)
    for evaluation in one.evaluations:
        evaluation.run([control, borrowed])
    collect(one, two_steps)
    results = load_results(Path("data/smoke/results/ar_small_rl"))
    assert results.arms == [CONTROL, "borrowed"]
    assert results.facts["taken_over"] == {"borrowed": "baseline/warm_start"}
    assert results.facts["untrained"] == [CONTROL, "borrowed"]
    assert results.runs["train_seconds"].is_null().all(), "starting and ending is no training"
    for table in (results.rows, results.measures, results.runs, results.curves):
        assert {CONTROL, "borrowed"} <= set(table["arm"])
        assert "warm_start" not in set(table["arm"])
    neutral = results.rows.filter(source=AV_NEUTRAL_AR, transform="original")
    assert {CONTROL, "borrowed"} <= set(neutral["arm"])
    assert "borrowed" in results.texts.columns
    assert not Path("runs/smoke/ar_small_rl/borrowed").exists()


def test_what_is_taken_over_is_not_run_here(
    taken_over: dict, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert [arm.name for arm in arms_asked("ar_small_rl", None, "smoke")] == [CONTROL]
    assert arms_asked("ar_small_rl", "borrowed", "smoke") == []
    told = capsys.readouterr().out.splitlines()
    assert told == ["borrowed: taken over from baseline/warm_start"] * 2
