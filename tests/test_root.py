"""The root is found from any folder inside it, and nothing is written anywhere else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import NlaError
from common.root import find_root
from tests.command_line import Refusal, end_of

ROOT = Path(__file__).parent.parent


@pytest.fixture
def inside(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the repository with files of the root's names, as the current one."""
    folder = repository / "notes" / "ar_small"
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text("mine: true\n")
    monkeypatch.chdir(folder)
    return folder


def test_the_profile_is_written_at_the_root(
    repository: Path, inside: Path, monkeypatch: pytest.MonkeyPatch
):
    assert end_of("profile", "quick", monkeypatch=monkeypatch) == 0
    assert (repository / "params.yaml").read_text() == "profile: quick\n"
    assert (inside / "params.yaml").read_text() == "mine: true\n"


@pytest.mark.parametrize(
    "words", [["run", "nosuch"], ["collect", "nosuch"], ["stage", "activations"]]
)
def test_a_mistake_is_told_as_at_the_root(
    repository: Path, inside: Path, refused: Refusal, words: list[str]
):
    told = refused(*words)
    os.chdir(repository)
    assert refused(*words) == told


def test_a_typed_path_means_what_it_meant_where_it_was_typed(inside: Path, refused: Refusal):
    run = Path("../../runs/smoke/ar_small/control/0")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 0\n")
    assert "unfinished run [runs/smoke/ar_small/control/0]" in refused("sync", str(run))


@pytest.mark.parametrize("words", [["doctor"], ["profile", "quick"], ["run", "ar_small"]])
def test_outside_of_the_repository_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal, words: list[str]
):
    monkeypatch.chdir(tmp_path)
    line = refused(*words)
    assert f"not inside the repository [{tmp_path}]" in line
    assert list(tmp_path.iterdir()) == []


def test_another_copy_of_the_code_is_not_the_one_that_runs(
    repository: Path, refused: Refusal, monkeypatch: pytest.MonkeyPatch
):
    (repository / "common").unlink()
    (repository / "common" / "profiles").mkdir(parents=True)
    assert "`make install` here" in refused("profile", "quick")
    assert (repository / "params.yaml").read_text() == "profile: smoke\n"


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refusal):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert "the current folder is gone" in refused("profile", "quick")


def test_the_root_is_the_nearest_folder_with_all_marks(repository: Path, inside: Path):
    assert find_root(inside) == repository
    assert find_root(repository) == repository
    assert find_root(ROOT / "experiments" / "baseline") == ROOT
    with pytest.raises(NlaError, match="not inside the repository"):
        find_root(repository.parent)


def test_a_module_of_an_experiment_finds_the_root_too(repository: Path, inside: Path):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.ar_small"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "missing artefact [data/smoke/target]" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name for path in inside.iterdir()} == {"dvc.yaml", "params.yaml"}
