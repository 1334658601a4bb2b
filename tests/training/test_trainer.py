import gc
import weakref
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from common.allocator import free_finished_runs
from common.errors import NlaError
from common.models.checkpoint import load_trainable, save_trainable
from common.runs import RunFolder
from common.training.policy import PolicyModule
from tests.training.runs import metrics, train


class KilledError(Exception):
    """What ends a run in the middle."""


class StopAfter(Callback):
    """Raises once `step` steps are done, before the validation there or during it."""

    def __init__(
        self, step: int, validating: bool = False, error: type[BaseException] = KilledError
    ) -> None:
        self.step, self.validating, self.error = step, validating, error

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.validating:
            raise self.error

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise self.error


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "smoke" / "test" / "control" / "0")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, target_folder: Path) -> dict[str, Any]:
    """By kind: the weights at the end, all metrics."""
    whole = {}
    for kind in ("ar", "av", "policy", "policy_credited", "policy_lagged"):
        run = RunFolder(tmp_path_factory.mktemp(kind) / "smoke" / "test" / "whole" / "0")
        module, _ = train(kind, target_folder, run)
        whole[kind] = (state_of(module), metrics(run))
    return whole


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Weights, buffers, and the tensors of any extra state."""
    state = module.state_dict()
    for name in [name for name in state if name.endswith("_extra_state")]:
        state |= {f"{name}.{part}": value.clone() for part, value in state.pop(name).items()}
    return state


@pytest.mark.parametrize(
    ("kind", "stops"),
    [
        ("ar", [StopAfter(3)]),
        ("ar", [StopAfter(4)]),
        ("ar", [StopAfter(4, validating=True)]),
        ("ar", [StopAfter(6), StopAfter(10)]),
        ("ar", [StopAfter(12, validating=True)]),
        ("av", [StopAfter(7)]),
        ("policy", [StopAfter(5)]),
        ("policy", [StopAfter(4, validating=True), StopAfter(9)]),
        ("policy_credited", [StopAfter(5)]),
        ("policy_lagged", [StopAfter(9)]),
        ("policy_lagged", [StopAfter(4, validating=True), StopAfter(11)]),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    kind: str,
    stops: list[StopAfter],
    uninterrupted: dict[str, Any],
    folder: RunFolder,
    target_folder: Path,
):
    for stop in stops:
        with pytest.raises(KilledError):
            train(kind, target_folder, folder, callbacks=[stop])
    module, _ = train(kind, target_folder, folder)
    weights, lines = uninterrupted[kind]
    assert metrics(folder) == lines
    assert all(torch.equal(value, weights[name]) for name, value in state_of(module).items())


def test_a_checkpoint_holds_what_changes_but_no_frozen_weights(
    folder: RunFolder, target_folder: Path
):
    """In four bytes: trained weights with two moments each, and those of the AR that lags."""
    module, _ = train("policy_lagged", target_folder, folder)
    assert isinstance(module, PolicyModule)
    last = folder.path / "resume" / "last.ckpt"
    saved = torch.load(last, weights_only=False)
    mean = module.parts["after_rollout"].mean
    assert saved["state_dict"]["parts.after_rollout.mean"] == mean != 0
    learned = {name for name, p in module.named_parameters() if p.requires_grad}
    assert saved["state_dict"].keys() == learned | {"parts.after_rollout.mean"}
    trained, lagging, frozen = (
        4 * sum(p.numel() for p in parameters)
        for parameters in (
            [p for p in module.parameters() if p.requires_grad],
            saved["extra_state"]["parts.rewarder"].values(),
            [p for p in module.verbalizer.parameters() if not p.requires_grad],
        )
    )
    size = last.stat().st_size
    assert size == pytest.approx(3 * trained + lagging, rel=0.1)
    assert frozen > 0.2 * size, "it would show"


def test_an_uninterrupted_run_trains_the_whole_plan_and_tells_its_dev_metrics(
    folder: RunFolder, target_folder: Path
):
    _, fitted = train("ar", target_folder, folder)
    assert [line["step"] for line in metrics(folder) if "train_loss" in line] == list(range(12))
    assert len(metrics(folder, "dev_fve")) == 3
    assert fitted["dev_fve"] == metrics(folder, "dev_fve")[-1]
    assert fitted.keys() == {"dev_fve", "dev_cosine", "train_seconds", "skipped_steps"}


def test_ctrl_c_is_passed_on_and_the_run_resumes(
    folder: RunFolder, target_folder: Path, uninterrupted: dict[str, Any]
):
    with pytest.raises(KeyboardInterrupt):
        train("ar", target_folder, folder, callbacks=[StopAfter(5, error=KeyboardInterrupt)])
    train("ar", target_folder, folder)
    assert metrics(folder) == uninterrupted["ar"][1]


class FaultAt(Callback):
    """Makes the gradient of some steps infinite."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_after_backward(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.global_step in self.steps:
            next(p.grad for p in module.parameters() if p.grad is not None).fill_(torch.inf)


def test_skipped_steps_are_counted_across_a_resume(folder: RunFolder, target_folder: Path):
    with pytest.raises(KilledError):
        train("ar", target_folder, folder, callbacks=[FaultAt(1, 2), StopAfter(6)])
    _, fitted = train("ar", target_folder, folder, callbacks=[FaultAt(9)])
    assert fitted["skipped_steps"] == 3


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint" / "model.safetensors"
    save_trainable(_model(), path, {"template": "abc", "layer": "8"})
    return path


def _model(width: int = 3) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2).requires_grad_(False))


def test_trainable_weights_come_back_in_bfloat16_and_frozen_ones_stay(saved: Path):
    other = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2).requires_grad_(False))
    frozen = other[1].weight.clone()
    load_trainable(other, saved, {"template": "abc", "layer": "8"})
    assert torch.equal(other[0].weight, _model()[0].weight.bfloat16().float())
    assert torch.equal(other[1].weight, frozen)


def refusal(path: Path, model: nn.Module, **metadata: str) -> str:
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(NlaError) as raised:
        load_trainable(model, path, metadata)
    assert all(map(torch.equal, before, model.parameters()))
    line = str(raised.value)
    assert "\n" not in line
    assert str(path) in line
    assert line.endswith("delete the run's folder and run its DVC stage again")
    return line


def test_a_torn_checkpoint_is_one_line(folder: RunFolder, target_folder: Path):
    with pytest.raises(KilledError):
        train("ar", target_folder, folder, callbacks=[StopAfter(5)])
    last = folder.path / "resume" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(NlaError, match=r"damaged checkpoint .*last\.ckpt.*delete it"):
        train("ar", target_folder, folder)
    last.unlink()
    train("ar", target_folder, folder)


def test_a_checkpoint_that_does_not_fit_is_refused(saved: Path, tmp_path: Path):
    assert "no checkpoint" in refusal(tmp_path / "nothing.safetensors", _model())
    told = refusal(saved, _model(), template="abc", layer="7")
    assert "layer is '8', expected '7'" in told
    assert "tokenizer is None" in refusal(saved, _model(), tokenizer="x")
    assert "another architecture" in refusal(saved, _model(width=4))
    assert "another architecture" in refusal(saved, _model().requires_grad_(True))
    saved.write_bytes(saved.read_bytes()[:50])
    assert "damaged" in refusal(saved, _model())


@pytest.mark.parametrize("kind", ["ar", "av", "policy"])
def test_a_finished_run_leaves_no_model_behind(kind: str, target_folder: Path, folder: RunFolder):
    gc.disable()
    try:
        module, _ = train(kind, target_folder, folder)
        left = [weakref.ref(module), weakref.ref(module.model), weakref.ref(module.optimizers())]
        del module
        assert any(each() is not None for each in left), "nothing has to be looked for any more"
        free_finished_runs()
        assert [each() for each in left] == [None, None, None]
    finally:
        gc.unfreeze()
        gc.enable()
