"""Two CPU processes (gloo) train what one process trains: `python -m tests.training.test_ddp`."""

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

from common.config import TrainerConfig
from common.runs import RunFolder
from tests.training.runs import CPU, metrics, train

ROOT = Path(__file__).parents[2]
DDP = TrainerConfig(accelerator="cpu", devices=2, strategy="ddp", precision="32-true")


class Losses(Callback):
    """The training losses of this process."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


@pytest.mark.parametrize(
    "kind", ["ar", "policy_without_kl", pytest.param("av", marks=pytest.mark.slow)]
)
def test_two_processes_train_what_one_trains(kind: str, target_folder: Path, tmp_path: Path):
    alone = RunFolder(tmp_path / "smoke" / "test" / "alone" / "0")
    together = RunFolder(tmp_path / "smoke" / "test" / "together" / "0")
    module, _ = train(kind, target_folder, alone, CPU)
    command = [sys.executable, "-m", "tests.training.test_ddp", kind, target_folder, together.path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = "dev_loss" if kind == "av" else "dev_fve"
    assert metrics(together, told) == pytest.approx(metrics(alone, told), abs=1e-5)
    losses = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(losses) == 2, "one list of losses from each process"
    mean = [sum(pair) / 2 for pair in zip(*losses, strict=True)]
    assert mean == pytest.approx(metrics(alone, "train_loss"), abs=1e-5)
    weights = torch.load(together.path / "weights.pt")
    for name, parameter in module.named_parameters():
        assert torch.allclose(parameter, weights[name], atol=1e-5), name


def main(kind: str, target_folder: str, out: str) -> None:
    """Train as one of two processes; print its losses, and let the first one save the weights."""
    losses = Losses()
    folder = RunFolder(Path(out))
    module, _ = train(kind, Path(target_folder), folder, DDP, [losses])
    sys.stdout.write(json.dumps(losses.values) + "\n")
    if module.global_rank == 0:
        torch.save(
            {name: p.detach() for name, p in module.named_parameters()}, folder.path / "weights.pt"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
