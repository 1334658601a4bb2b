"""Bad input through the real command: one line with what, where and remedy, no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command_line import Refusal, end_of

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command", [["profile", "nosuch"], ["run", "ar_small", "--profile", "nosuch"]]
)
def test_unknown_profile(repository: Path, refused: Refusal, command: list[str]):
    line = refused(*command)
    assert "unknown profile 'nosuch'" in line
    assert "gpu, hub, laptop, mini, smoke" in line
    assert (repository / "params.yaml").read_text() == "profile: smoke\n"


def test_profile_writes_the_word_that_dvc_reads(repository: Path, monkeypatch: pytest.MonkeyPatch):
    assert end_of("profile", "laptop", monkeypatch=monkeypatch) == 0
    assert yaml.safe_load((repository / "params.yaml").read_text()) == {"profile": "laptop"}


@pytest.mark.parametrize("command", ["run", "sweep", "collect", "report"])
def test_unknown_experiment(repository: Path, refused: Refusal, command: str):
    line = refused(command, "ar_tiny")
    assert "unknown experiment 'ar_tiny'" in line
    assert "ar_small" in line.partition("choose one of")[2]


def test_unknown_arm(repository: Path, refused: Refusal):
    line = refused("run", "ar_small", "--arm", "blocks_9")
    assert "unknown arm 'blocks_9' [experiments/ar_small/params.yaml]" in line
    assert "control, blocks_8" in line


def test_unknown_stage(repository: Path, refused: Refusal):
    assert "choose one of target, corpus" in refused("stage", "nosuch")


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
    assert list(folder.iterdir()) == []


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


def own_experiments(repository: Path, params: dict) -> None:
    (repository / "experiments").unlink()
    folder = repository / "experiments" / "ar_small"
    folder.mkdir(parents=True)
    (folder / "experiment.py").symlink_to(ROOT / "experiments" / "ar_small" / "experiment.py")
    (folder / "params.yaml").write_text(yaml.safe_dump({"only": {}, "seeds": {}} | params))


@pytest.mark.parametrize(("layer", "said"), [(12, "layer 12 is out of range"), (-1, "layer -1")])
def test_a_layer_that_the_target_lacks(
    with_trunk: Path,
    refused: Refusal,
    monkeypatch: pytest.MonkeyPatch,
    layer: int,
    said: str,
):
    monkeypatch.setattr("common.profile.PROFILES", with_trunk)
    profile = yaml.safe_load((ROOT / "common" / "profiles" / "smoke.yaml").read_text())
    profile["activations"]["layers"] = [layer]
    (with_trunk / "smoke.yaml").write_text(yaml.safe_dump(profile))
    line = refused("stage", "activations")
    assert said in line
    assert line.endswith("the target has blocks 0 to 11")


@pytest.mark.parametrize(
    ("command", "missing", "stage"),
    [
        (["stage", "activations"], "data/smoke/corpus.parquet", "corpus"),
        (["stage", "av"], "data/smoke/target", "target"),
        (["run", "ar_small", "--arm", "control"], "data/smoke/target", "target"),
    ],
)
def test_missing_artefact(
    repository: Path, refused: Refusal, command: list[str], missing: str, stage: str
):
    line = refused(*command)
    assert f"missing artefact [{missing}]" in line
    assert f"`dvc repro {stage}`" in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["explain", "words", "--position", "last"], "Invalid value for '--position'"),
        (["run"], "Missing argument 'experiment': see `nla run --help`"),
        (["run", "ar_small", "--workers", "0"], "--workers"),
        (["run", "ar_small", "--arms", "control"], "No such option: --arms"),
        (["rum", "ar_small"], "No such command 'rum'"),
        (["profile", "smoke", "mini"], "unexpected extra argument"),
    ],
)
def test_words_that_cannot_be_read_are_a_mistake_like_others(
    repository: Path, refused: Refusal, words: list[str], told: str
):
    assert told in refused(*words)


def test_the_bare_command_is_answered_with_help_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    assert end_of(monkeypatch=monkeypatch) == 0
    assert "explain" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "whose"), [(["--arm", "control"], ", control"), ([], "")])
@pytest.mark.parametrize("seed", ["2", "99", "-1"])
def test_a_seed_that_no_report_reads(
    with_trunk: Path, refused: Refusal, words: list[str], whose: str, seed: str
):
    line = refused("run", "ar_small", *words, "--seed", seed)
    assert f"seed {seed} does not count in any report [ar_small{whose}]" in line
    assert "choose one of 0, 1 (tuning.seeds" in line
    assert not (with_trunk / "runs").exists()


def test_a_seed_of_an_arm_in_which_nothing_learns(with_trunk: Path, refused: Refusal):
    """One run stands for all seeds: a second one would be made for nobody."""
    made = with_trunk / "runs/smoke/warm_start"
    for name in ("av", "ar"):
        (made / name / "0").mkdir(parents=True)
        (made / name / "0" / "summary.json").write_text('{"digest": "x"}')
    line = refused("run", "baseline", "--arm", "warm_start", "--seed", "1")
    assert "seed 1 does not count in any report [baseline, warm_start]: choose one of 0" in line


def test_an_arm_with_fewer_seeds_says_that_it_is_left_out(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    arms = {"control": {"blocks": None}, "blocks_1": {"blocks": 1}}
    own_experiments(with_trunk, {"arms": arms, "seeds": {"smoke": {"blocks_1": 1}}, "search": {}})
    ran: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "common.arms.arm.Arm.run_seed", lambda arm, seed, _best: ran.append((arm.name, seed))
    )
    assert end_of("run", "ar_small", "--seed", "1", monkeypatch=monkeypatch) == 0
    assert ran == [("control", 1)]
    assert capsys.readouterr().out == "blocks_1: left out, its seeds are 0\n"


LIGHT = """
import sys
from common import cli
try:
    cli.main()
finally:
    heavy = [name for name in ("torch", "transformers", "mlflow", "optuna") if name in sys.modules]
    assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "words",
    [
        ["run", "nosuch"],
        ["run", "ar_small", "--arm", "nosuch"],
        ["run", "ar_small", "--seed", "9"],
        ["run", "ar_small", "--profile", "nosuch"],
        ["collect", "nosuch"],
        ["report", "nosuch"],
        ["stage", "nosuch"],
        ["profile", "nosuch"],
        ["profile", "laptop"],
        ["explain", ""],
        ["explain", "The river is deep.", "--ar", "a/b/c"],
        ["release", "a/b/c", "name"],
        ["sync", "runs/nosuch"],
    ],
)
def test_a_mistake_is_told_before_anything_heavy_is_imported(repository: Path, words: list[str]):
    """Laptop's `auto` is measured with torch: its file is looked at before."""
    (repository / "params.yaml").write_text("profile: laptop\n")
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "AssertionError" not in done.stderr
    assert done.returncode == (0 if words == ["profile", "laptop"] else 1), done.stderr
    assert done.stderr.count("\n") == done.returncode


def test_missing_results(repository: Path, refused: Refusal):
    line = refused("report", "ar_small")
    assert "data/smoke/results/ar_small" in line
    assert line.endswith("nla collect ar_small --profile smoke")


@pytest.mark.parametrize("option", [("--profile", "smoke"), ("--profile=smoke",)])
def test_a_remedy_that_names_a_stage_knows_of_another_profile(
    repository: Path, refused: Refusal, option: tuple[str, ...]
):
    (repository / "params.yaml").write_text("profile: laptop\n")
    line = refused("stage", "activations", *option)
    assert line.endswith("(DVC goes by the profile in params.yaml)")


def test_a_remedy_at_the_profile_of_params_yaml_needs_no_hint(repository: Path, refused: Refusal):
    line = refused("stage", "activations", "--profile", "smoke")
    assert line.endswith("`dvc repro corpus`")


@pytest.mark.parametrize("command", [["collect", "baseline"], ["neutral", "baseline"]])
def test_a_run_that_has_not_been_made(with_trunk: Path, refused: Refusal, command: list[str]):
    line = refused(*command)
    assert "this run has not been made [runs/smoke/baseline/control/0]" in line
    assert line.endswith("nla run baseline --arm control --profile smoke")


def test_no_neutral_ar_where_all_read_the_same(with_trunk: Path, refused: Refusal):
    assert "read the same texts" in refused("neutral", "ar_small")


def test_a_sweep_where_nothing_is_tuned_says_so(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("sweep", "baseline", "--workers", "2", monkeypatch=monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all("nothing is tuned" in line for line in lines)


def test_an_unfinished_run_is_not_synced(repository: Path, refused: Refusal):
    run = Path("runs") / "smoke" / "ar_small" / "control" / "0"
    assert f"not a run folder: no config.yaml [{run}]" in refused("sync", str(run))
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    assert f"unfinished run [{run}]" in refused("sync", str(run))


def test_doctor_names_a_command_for_everything_that_is_missing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().out.splitlines()
    missing = [line for line in told if "missing" in line]
    for stage in ("target", "corpus", "activations", "explanations", "av", "av_text", "floors"):
        assert any(line.endswith(f"→ dvc repro {stage}") for line in missing), stage
    assert all("→" in line for line in missing)
    assert any("ok" in line and "library torch" in line for line in told)


def test_doctor_is_content_with_what_is_there(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    missing = [line for line in capsys.readouterr().out.splitlines() if "missing" in line]
    assert [line.partition("→ ")[2] for line in missing] == ["dvc repro floors", "dvc repro av"]


def test_doctor_finds_what_is_damaged(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    corpus = with_trunk / "data/smoke/corpus.parquet"
    whole = corpus.read_bytes()
    corpus.write_bytes(whole[:-1])
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    corpus.write_bytes(whole)
    assert "→ dvc repro corpus" in capsys.readouterr().out


def test_doctor_of_another_profile_says_how_to_get_there(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (repository / "params.yaml").write_text("profile: laptop\n")
    assert end_of("doctor", "--profile", "smoke", monkeypatch=monkeypatch) == 1
    assert "→ nla profile smoke && dvc repro target" in capsys.readouterr().out


def test_the_real_command_tells_a_mistake_without_a_traceback(repository: Path):
    done = subprocess.run(
        [sys.executable, "-m", "common.cli", "stage", "corpse"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "unknown stage 'corpse'" in done.stderr


FAILING = """
from common import cli
from common.commands import trunk
def fail(name, profile):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
trunk.run_stage = fail
cli.main()
"""


def test_out_of_memory_in_any_command_names_the_knobs(repository: Path):
    done = subprocess.run(
        [sys.executable, "-c", FAILING, "stage", "av_text"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "out of memory (DefaultCPUAllocator" in done.stderr
    assert "rollout.batch_size" in done.stderr
