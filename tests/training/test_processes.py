"""Two CPU processes (gloo) train what one trains: `python -m tests.training.test_processes`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.config import TrainerConfig
from common.runs import RunFolder
from tests.training.runs import CPU, metrics, train

ROOT = Path(__file__).parents[2]
TWO = {"accelerator": "cpu", "devices": 2, "precision": "32-true"}


class Losses(Callback):
    """The training losses of this process."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


@pytest.mark.parametrize(
    ("kind", "strategy"),
    [
        ("ar", "ddp"),
        ("policy_without_kl", "ddp"),
        ("policy_whole", "ddp"),
        ("policy_without_kl", "fsdp2"),
        pytest.param("av", "ddp", marks=pytest.mark.slow),
        pytest.param("ar", "fsdp2", marks=pytest.mark.slow),
        pytest.param("av", "fsdp2", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_what_one_trains(
    kind: str, strategy: str, target_folder: Path, tmp_path: Path
):
    alone = RunFolder(tmp_path / "smoke" / "test" / "alone" / "0")
    together = RunFolder(tmp_path / "smoke" / "test" / "together" / "0")
    module, _ = train(kind, target_folder, alone, CPU)
    losses = as_two_processes(kind, strategy, target_folder, together)
    told = "dev_loss" if kind == "av" else "dev_fve"
    assert metrics(together, told) == pytest.approx(metrics(alone, told), abs=1e-5)
    mean = [sum(pair) / 2 for pair in zip(*losses, strict=True)]
    assert mean == pytest.approx(metrics(alone, "train_loss"), abs=1e-5)
    # Adam makes full steps of gradients that are next to nothing but rounding.
    tolerance = 1e-5 if strategy == "ddp" else 1e-4
    weights = torch.load(together.path / "weights.pt")
    for name, parameter in module.named_parameters():
        assert torch.allclose(parameter, weights[name], atol=tolerance), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["policy_without_kl", "policy_lagged"])
def test_sharded_training_resumes(kind: str, target_folder: Path, tmp_path: Path):
    """From the checkpoint of its end: nothing is left to train, and the weights are the same."""
    folder = RunFolder(tmp_path / "smoke" / "test" / "together" / "0")
    assert any(as_two_processes(kind, "fsdp2", target_folder, folder))
    before = torch.load(folder.path / "weights.pt")
    (folder.path / "weights.pt").unlink()
    assert as_two_processes(kind, "fsdp2", target_folder, folder) == [[], []]
    after = torch.load(folder.path / "weights.pt")
    assert all(torch.equal(before[name], after[name]) for name in before)


def as_two_processes(
    kind: str, strategy: str, target_folder: Path, folder: RunFolder
) -> list[list[float]]:
    """Train; the losses of each process."""
    command = [sys.executable, "-m", "tests.training.test_processes", kind, strategy]
    command += [str(target_folder), str(folder.path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    losses = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(losses) == 2, "one list of losses from each process"
    return losses


def main(kind: str, strategy: str, target_folder: str, out: str) -> None:
    """Train as one of two processes; print its losses, and let the first one save the weights."""
    losses = Losses()
    folder = RunFolder(Path(out))
    module, _ = train(
        kind, Path(target_folder), folder, TrainerConfig(strategy=strategy, **TWO), [losses]
    )
    sys.stdout.write(json.dumps(losses.values) + "\n")
    weights = {name: gathered(p.detach()) for name, p in module.named_parameters()}
    if module.global_rank == 0:
        torch.save(weights, folder.path / "weights.pt")


def gathered(parameter: Any) -> Tensor:
    """The whole of a sharded parameter: every process must ask."""
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


if __name__ == "__main__":
    main(*sys.argv[1:])
