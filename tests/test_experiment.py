"""Every experiment folder runs on the tiny random model: two steps of each arm, then its test."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch
import yaml

from common.arm import Arm
from common.config import Profile
from common.errors import NlaError
from common.experiment import load_experiment
from common.material import Material
from common.models.checkpoint import load_trainable
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA
from common.schema import AV, TEACHER
from common.tuning.study import Best

ROOT = Path(__file__).parent.parent
ARMS = [
    (file.parent.name, arm)
    for file in sorted(ROOT.glob("experiments/*/params.yaml"))
    for arm in yaml.safe_load(file.read_text())["arms"]
]


@pytest.fixture(scope="module")
def two_steps(smoke: Profile) -> Profile:
    ar = {"examples": 12, "av_examples": 4, "batch_size": 8}
    dev = {"validations": 1, "validation_examples": 8}
    evaluation = {"prefix_lengths": (4,), "batch_size": 256}
    return smoke.replace(
        ar=smoke.ar.replace(**ar, **dev), evaluation=smoke.evaluation.replace(**evaluation)
    )


@pytest.fixture(scope="module")
def repository(trunk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    (root / "data").symlink_to(trunk_root / "data")
    (root / "experiments").symlink_to(ROOT / "experiments")
    return root


@pytest.fixture(scope="module")
def shared(two_steps: Profile) -> Material:
    """Arms copy what they need of it, so that one serves all."""
    return Material(two_steps)


@pytest.fixture
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable() -> None:
        raise OSError("no server")

    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)


@pytest.mark.usefixtures("without_mlflow")
@pytest.mark.parametrize(("experiment", "arm"), ARMS, ids=["/".join(pair) for pair in ARMS])
def test_an_arm_trains_two_steps_and_is_tested(
    experiment: str,
    arm: str,
    two_steps: Profile,
    repository: Path,
    shared: Material,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(repository)
    one = Arm(load_experiment(experiment), arm, two_steps, shared)
    folder = one.run_seed(0, Best({"learning_rate": 1e-3}, (0.0,), 0, 1))

    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert set(RUNS_SCHEMA) - {"arm", "seed", "weight_decay"} <= set(folder.summary)

    rows = pl.read_parquet(folder.rows_file)
    assert set(rows.columns) == set(ROWS_SCHEMA)
    assert set(rows["source"]) == {TEACHER, AV}
    assert {"original", "shuffled", "quotes_stripped", "random_stripped", "prefix_4"} <= set(
        rows["transform"]
    )
    assert rows.filter("applied")["squared_error"].is_finite().all()
    keys = shared.test_table.height
    assert set(rows.group_by("source", "transform").len()["len"]) == {keys}

    trained = one.experiment.build(one.settings, shared)
    fresh = [p.clone() for p in trained.parameters()]
    load_trainable(trained, folder.checkpoint / "ar.safetensors", one.metadata(trained))
    assert any(not torch.equal(*pair) for pair in zip(trained.parameters(), fresh, strict=True))
    for parameter, before in zip(trained.parameters(), fresh, strict=True):
        assert parameter.requires_grad or torch.equal(parameter, before), "a frozen weight moved"

    written = folder.summary_file.stat().st_mtime_ns
    one.run_seed(0, Best({"learning_rate": 1e-3}, (0.0,), 0, 1))
    assert folder.summary_file.stat().st_mtime_ns == written, "a finished run ran again"

    one.check(folder)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(resamples=101))
    with pytest.raises(NlaError, match=r"a run of other evaluation than today's.*nla run"):
        Arm(one.experiment, arm, other, shared).check(folder)


def test_an_unknown_experiment_is_answered_with_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(NlaError, match=r"choose one of .*ar_small"):
        load_experiment("nosuch")
