"""What many tests read: the tiny target and a smoke trunk, each made once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

# First imported from one of our modules, whose types are checked, they would be compiled from
# source in every process: twenty seconds.
import datasets  # noqa: F401
import jaxtyping
import lightning  # noqa: F401
import mlflow  # noqa: F401
import optuna  # noqa: F401
import peft  # noqa: F401
import polars as pl
import pytest
import seaborn  # noqa: F401
import sklearn.linear_model  # noqa: F401
import torch
import transformers  # noqa: F401

from common.config import AVConfig, TargetConfig
from common.evaluation.test_set import TestSet
from common.manifest import read_manifest, write_artefact
from common.paths import WARM_START, TrunkPlaces
from common.profile import Profile, load_profile
from common.schema import DEV, RL, SPLIT, TEST
from common.stages.run import run_stage
from common.target.load import Target, load_target, prepare_target
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.command_line import Refusal, end_of

ROOT = Path(__file__).parent.parent
os.environ["NLA_ALLOCATOR"] = "libc"  # a command called here must not start pytest again
torch.set_num_threads(1)  # tiny models: more threads only wait for one another


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """Shapes and types are not asserted, as outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def smoke() -> Profile:
    return load_profile("smoke")


@pytest.fixture(scope="session")
def target_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "target"
    prepare_target(TargetConfig(model="tiny"), folder)
    return folder


@pytest.fixture(scope="session")
def target(target_folder: Path) -> Target:
    """Frozen and shared: no test may change it."""
    return load_target(target_folder)


@pytest.fixture(scope="session")
def trunk_root(
    tmp_path_factory: pytest.TempPathFactory, target_folder: Path, smoke: Profile
) -> Path:
    """A repository root with data/smoke/ filled; the teacher's texts stand in for the AV's."""
    root = tmp_path_factory.mktemp("trunk")
    places = TrunkPlaces(smoke.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        shutil.copytree(target_folder, places.target)
        for stage in ("corpus", "activations", "last_tokens", "explanations"):
            run_stage(stage, choose_trunk(smoke))
        spoken = pl.read_parquet(places.explanations).filter(pl.col(SPLIT).is_in([DEV, TEST, RL]))
        read = read_manifest(places.activations, "activations")
        made_of = {"tokenizer": read["tokenizer"], "activations": read["digest"]}
        made_of["rollout"] = smoke.rollout.digest()
        places.av_texts.mkdir()
        for pair in range(smoke.warm_starts):
            write_artefact(spoken, places.av_text(pair), kind="av_text", pair=pair, **made_of)
    return root


@pytest.fixture
def places(trunk_root: Path, monkeypatch: pytest.MonkeyPatch, smoke: Profile) -> TrunkPlaces:
    """Those of the smoke trunk, with its root as the current folder. Read only."""
    monkeypatch.chdir(trunk_root)
    return TrunkPlaces(smoke.name)


@pytest.fixture
def copied_places(
    trunk_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: Profile
) -> TrunkPlaces:
    """Those of a trunk that a test may damage, with its root as the current folder."""
    shutil.copytree(trunk_root, tmp_path / "root")
    monkeypatch.chdir(tmp_path / "root")
    return TrunkPlaces(smoke.name)


@pytest.fixture
def trunk(places: TrunkPlaces, smoke: Profile) -> Trunk:
    """The smoke trunk. Read only."""
    return Trunk(choose_trunk(smoke))


@pytest.fixture
def held_out(trunk: Trunk) -> TestSet:
    """Its test documents."""
    return TestSet(trunk)


@pytest.fixture(scope="session")
def two_steps(smoke: Profile) -> Profile:
    """Everything is trained for two steps, and tested."""
    dev = {"validations": 1, "validation_examples": 8}
    rl = {"steps": 2, "activations": 2, "samples": 2, "validations": 1}
    few = {"prefix_lengths": (4,), "batch_size": 256, "neutral_examples": 4}
    return smoke.replace(
        rl=smoke.rl.replace(**rl),
        av=smoke.av.replace(examples=32, max_explanation_tokens=8, **dev),
        ar=smoke.ar.replace(examples=12, av_examples=4, batch_size=8, **dev),
        evaluation=smoke.evaluation.replace(**few),
    )


@pytest.fixture(scope="session")
def warm_root(
    trunk_root: Path, two_steps: Profile, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A repository root with all stages of the trunk made, and two warm-started pairs."""
    root = tmp_path_factory.mktemp("warm")
    shutil.copytree(trunk_root / "data", root / "data")
    (root / "experiments").symlink_to(ROOT / "experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("common.tracking.tracker.connect", unreachable)
        for stage in ("av", "av_text", "ar", "floors"):
            run_stage(stage, choose_trunk(two_steps))
    return root


@pytest.fixture
def warm(warm_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, without MLflow. Whoever makes a run there makes the same for all."""
    monkeypatch.chdir(warm_root)
    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)
    return warm_root


@pytest.fixture
def copied_warm(warm_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that a test may damage, with no run but those of the trunk."""
    root = tmp_path / "warm"
    shutil.copytree(warm_root / "data", root / "data")
    shutil.copytree(warm_root / "runs" / "smoke" / WARM_START, root / "runs" / "smoke" / WARM_START)
    (root / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(root)
    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)
    return root


def unreachable() -> None:
    raise OSError("no server")


@pytest.fixture(scope="session")
def av_config() -> AVConfig:
    return AVConfig(examples=8, learning_rate=1e-3, lora_rank=4, max_explanation_tokens=24)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh clone as far as the command line can tell: smoke profile, no artefact, no run."""
    for name in ("common", "ar_variants", "decomposition", "experiments", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "params.yaml").write_text("profile: smoke\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def with_trunk(repository: Path, trunk_root: Path) -> Path:
    (repository / "data").symlink_to(trunk_root / "data")
    return repository


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs `nla <arguments>` and returns the one line it ends with, at exit status 1."""

    def refuse(*arguments: str) -> str:
        assert end_of(*arguments, monkeypatch=monkeypatch) == 1
        told = capsys.readouterr()
        assert told.out == ""
        [line] = told.err.splitlines()
        assert line.startswith("nla: error: ")
        return line

    return refuse
