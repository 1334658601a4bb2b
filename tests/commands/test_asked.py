"""What a command asks of an experiment, refused in one line where there is no such thing."""

import shutil
from pathlib import Path

import pytest
import yaml

from tests.command_line import Refusal, end_of
from tests.own_experiments import ROOT, own_experiments


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"arms": {"control": {"blocs": 2}}, "search": {}}, "arms.control.blocs"),
        ({"arms": {"control": {"blocks": 0}}, "search": {}}, "arms.control.blocks"),
        ({"arms": {"control": {}}, "serach": {}}, "serach"),
        (
            {"arms": {"control": {}}, "search": {"weight_decay": {"low": 1}}},
            "search.weight_decay.high",
        ),
    ],
)
def test_a_wrong_key_of_an_experiment(repository: Path, refused: Refusal, change: dict, key: str):
    own_experiments(repository, change)
    line = refused("run", "ar_small")
    assert f"config key '{key}'" in line
    assert "experiments/ar_small/params.yaml" in line


@pytest.mark.parametrize("key", ["only", "seeds"])
def test_a_misspelt_profile_of_an_experiment(repository: Path, refused: Refusal, key: str):
    """It would change nothing, and nobody would notice."""
    value = ["control"] if key == "only" else {"control": 1}
    own_experiments(repository, {"arms": {"control": {}}, key: {"lptop": value}, "search": {}})
    assert "unknown profile 'lptop' in `only` or `seeds`" in refused("run", "ar_small")


@pytest.mark.parametrize("key", ["only", "seeds", "search"])
def test_what_dvc_names_of_an_experiment_has_no_default(
    repository: Path, refused: Refusal, key: str
):
    own_experiments(repository, {"arms": {"control": {}}, "search": {}})
    file = repository / "experiments" / "ar_small" / "params.yaml"
    values = yaml.safe_load(file.read_text())
    del values[key]
    file.write_text(yaml.safe_dump(values))
    assert f"config key '{key}': missing" in refused("run", "ar_small")


def test_an_arm_that_a_profile_leaves_out_is_no_error_and_leaves_its_folder(
    repository: Path, monkeypatch: pytest.MonkeyPatch
):
    arms = {"control": {"blocks": None}, "blocks_1": {"blocks": 1}}
    own_experiments(repository, {"arms": arms, "only": {"smoke": ["control"]}, "search": {}})
    assert end_of("run", "ar_small", "--arm", "blocks_1", monkeypatch=monkeypatch) == 0
    folder = repository / "runs" / "smoke" / "ar_small" / "blocks_1"
    [told] = folder.iterdir()
    assert "blocks_1 is not among the arms that smoke runs" in told.read_text()


def test_an_experiment_without_control(repository: Path, refused: Refusal):
    own_experiments(repository, {"arms": {"small": {}}, "search": {}})
    assert "no arm named `control`" in refused("run", "ar_small")


def test_more_blocks_than_the_layer_has(
    with_trunk: Path, refused: Refusal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)
    own_experiments(with_trunk, {"arms": {"control": {"blocks": 10}}, "search": {}})
    line = refused("run", "ar_small")
    assert "keeps 10 blocks" in line
    assert line.endswith("set `blocks` to at most 9")


def unreachable() -> None:
    raise OSError("no MLflow here")


@pytest.mark.parametrize(("layer", "said"), [(12, "layer 12 is out of range"), (-1, "layer -1")])
def test_a_layer_that_the_target_lacks(
    with_trunk: Path,
    refused: Refusal,
    monkeypatch: pytest.MonkeyPatch,
    layer: int,
    said: str,
):
    own_profile(with_trunk, monkeypatch, activations={"layers": [layer]})
    line = refused("stage", "activations")
    assert said in line
    assert line.endswith("the target has blocks 0 to 11")


@pytest.mark.parametrize(("words", "whose"), [(["--arm", "control"], ", control"), ([], "")])
@pytest.mark.parametrize("seed", ["2", "99", "-1"])
def test_a_seed_that_no_report_reads(
    with_trunk: Path, refused: Refusal, words: list[str], whose: str, seed: str
):
    line = refused("run", "ar_small", *words, "--seed", seed)
    assert f"seed {seed} does not count in any report [ar_small{whose}]" in line
    assert "choose one of 0, 1 (tuning.seeds" in line
    assert not (with_trunk / "runs").exists()


def test_a_seed_of_an_arm_in_which_nothing_learns(
    with_trunk: Path, refused: Refusal, monkeypatch: pytest.MonkeyPatch
):
    """One run of each pair stands for all its seeds: another one would be made for nobody."""
    own_profile(with_trunk, monkeypatch, tuning={"seeds": [0, 1, 2, 3]})
    line = refused("run", "baseline", "--arm", "warm_start", "--seed", "2")
    assert "seed 2 does not count in any report [baseline, warm_start]: choose one of 0, 1 " in line


def own_profile(place: Path, monkeypatch: pytest.MonkeyPatch, **sections: dict) -> None:
    """`smoke` with other values in some sections."""
    own = place / "profiles"
    shutil.copytree(ROOT / "common" / "profiles", own)
    monkeypatch.setattr("common.profile.PROFILES", own)
    profile = yaml.safe_load((own / "smoke.yaml").read_text())
    for section, values in sections.items():
        profile[section] |= values
    (own / "smoke.yaml").write_text(yaml.safe_dump(profile))


def test_an_arm_with_fewer_seeds_says_that_it_is_left_out(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arms = {"control": {"blocks": None}, "blocks_1": {"blocks": 1}}
    own_experiments(with_trunk, {"arms": arms, "seeds": {"smoke": {"blocks_1": 1}}, "search": {}})
    ran: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "common.lifecycle.make.make_run", lambda arm, seed, _best: ran.append((arm.name, seed))
    )
    assert end_of("run", "ar_small", "--seed", "1", monkeypatch=monkeypatch) == 0
    assert ran == [("control", 1)]
    assert capsys.readouterr().out == "blocks_1: left out, its seeds are 0\n"


@pytest.mark.parametrize("command", [["collect", "baseline"], ["evaluate", "baseline"]])
def test_a_run_that_has_not_been_made(with_trunk: Path, refused: Refusal, command: list[str]):
    line = refused(*command)
    assert "this run has not been made [runs/smoke/baseline/control/0]" in line
    assert line.endswith("nla run baseline --arm control --profile smoke")


def test_no_neutral_ar_where_all_read_the_same(with_trunk: Path, refused: Refusal):
    line = refused("evaluate", "ar_small", "neutral")
    assert "ar_small has no evaluation 'neutral': choose one of none: it has none to run" in line


def test_an_unknown_evaluation_is_answered_with_the_known_ones(with_trunk: Path, refused: Refusal):
    line = refused("evaluate", "baseline", "nosuch")
    assert "baseline has no evaluation 'nosuch': choose one of neutral" in line


def test_an_arm_whose_warm_start_is_missing_names_its_stage(with_trunk: Path, refused: Refusal):
    line = refused("run", "baseline", "--arm", "control", "--seed", "1")
    assert "unfinished run [runs/smoke/warm_start/av/1]: run `dvc repro av` again" in line


def test_nothing_is_taken_over_without_a_reason(with_trunk: Path, refused: Refusal):
    assert "no reason [--reason]" in refused("adopt", "ar_small", "--reason", " ")
    assert "Missing option '--reason'" in refused("adopt", "ar_small")


def test_a_stage_of_an_unknown_trunk(repository: Path, refused: Refusal):
    assert "unknown trunk 'wide'" in refused("stage", "av", "--trunk", "ar_small/wide")
    assert "unknown experiment 'nosuch'" in refused("stage", "av", "--trunk", "nosuch/wide")


def test_a_sweep_where_nothing_is_tuned_says_so(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("sweep", "baseline", "--workers", "2", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all("nothing is tuned" in line for line in lines)
