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
    assert "gpu, hub, laptop, quick, smoke" in line
    assert (repository / "params.yaml").read_text() == "profile: smoke\n"


def test_profile_writes_the_word_that_dvc_reads(repository: Path, monkeypatch: pytest.MonkeyPatch):
    assert end_of("profile", "laptop", monkeypatch=monkeypatch) == 0
    assert yaml.safe_load((repository / "params.yaml").read_text()) == {"profile": "laptop"}


@pytest.mark.parametrize("command", ["run", "sweep", "evaluate", "collect", "report"])
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
        (["profile", "smoke", "quick"], "unexpected extra argument"),
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
        ["evaluate", "nosuch"],
        ["adopt", "nosuch", "--reason", "x"],
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


def test_an_unfinished_run_is_not_synced(repository: Path, refused: Refusal):
    run = Path("runs") / "smoke" / "ar_small" / "control" / "0"
    assert f"not a run folder: no config.yaml [{run}]" in refused("sync", str(run))
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    assert f"unfinished run [{run}]" in refused("sync", str(run))


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
from common.stages import run
def fail(name, choice):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
run.run_stage = fail
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
