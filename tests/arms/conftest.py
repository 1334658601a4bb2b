"""A repository whose trunk has a warm-started pair, made in a few steps."""

from pathlib import Path

import pytest

from common.profile import Profile
from common.stages.run import run_stage
from common.trunk.choice import choose_trunk
from tests.clone import ROOT


@pytest.fixture(scope="session")
def two_steps(smoke: Profile) -> Profile:
    """One pair, and two steps of everything."""
    ar = {"examples": 12, "av_examples": 4, "batch_size": 8}
    dev = {"validations": 1, "validation_examples": 8}
    evaluation = {"prefix_lengths": (4,), "batch_size": 256, "neutral_examples": 4}
    return smoke.replace(
        rl=smoke.rl.replace(steps=2, activations=2, samples=2, validations=1),
        av=smoke.av.replace(examples=16, validations=1, max_explanation_tokens=8),
        ar=smoke.ar.replace(**ar, **dev),
        evaluation=smoke.evaluation.replace(**evaluation),
        warm_starts=1,
    )


@pytest.fixture(scope="session")
def warm_root(
    trunk_root: Path, two_steps: Profile, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A repository root with data of the trunk and a warm-started AV and AR."""
    root = tmp_path_factory.mktemp("warm")
    (root / "data").symlink_to(trunk_root / "data")
    (root / "experiments").symlink_to(ROOT / "experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr("common.tracking.tracker.connect", unreachable)
        for stage in ("av", "ar"):
            run_stage(stage, choose_trunk(two_steps))
    return root


def unreachable() -> None:
    """No MLflow answers."""
    raise OSError("no server")


@pytest.fixture
def repository(warm_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As the current folder, without MLflow; what a test makes there stays for the next one."""
    monkeypatch.chdir(warm_root)
    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)
    return warm_root
