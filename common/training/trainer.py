"""Train a LightningModule in a run folder: progress, logging, checkpoints and exact resume."""

import logging
import os
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.callbacks.progress.tqdm_progress import TQDMProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import TorchCheckpointIO

from common.allocator import is_out_of_memory, out_of_memory
from common.config import TrainerConfig
from common.data.datamodule import NlaDataModule
from common.errors import NlaError
from common.files import replacing
from common.runs import RunFolder
from common.training.module import TrainingModule
from common.training.run_log import RunLog


class RunLogger(Logger):
    """Writes Lightning's metrics to metrics.jsonl, and at once to MLflow."""

    def __init__(self, folder: RunFolder, tracker: RunLog) -> None:
        """`folder` and `tracker` are open already."""
        super().__init__()
        self.folder, self.tracker = folder, tracker

    @property
    def name(self) -> str:
        """Name of the experiment."""
        return self.folder.identity[1]

    @property
    def version(self) -> str:
        """Arm and seed."""
        return "/".join(self.folder.identity[2:])

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write one line for each step, without Lightning's epoch counter."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if values and is_first():
            self.tracker.log(values, step or 0)  # first, because it catches up with the folder
            self.folder.log(values, step or 0)

    def log_hyperparams(self, *_args: Any, **_kwargs: Any) -> None:
        """The config is in the run folder already."""


class ReplacingCheckpointIO(TorchCheckpointIO):
    """A checkpoint replaces the previous one only when it is whole, on any file system."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write under another name, then rename."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)


def is_first() -> bool:
    """Whether this process is the one that writes."""
    return not any(int(os.environ.get(rank, 0)) for rank in ("RANK", "LOCAL_RANK"))


class Fitted(dict):
    """Facts of a training run: dev metrics at its end, time, tokens, skipped steps."""


def fit(
    module: TrainingModule,
    data: NlaDataModule,
    trainer_config: TrainerConfig,
    tracker: RunLog,
    callbacks: Sequence[Callback] = (),
    resumable: bool = True,
) -> Fitted:
    """Train to the end of the plan, from the newest checkpoint of the run if there is one.

    Returns the last dev metrics with `train_seconds` (of all attempts) and `skipped_steps`.
    """
    folder = tracker.folder
    checkpoint = folder.path / "resume"
    last = checkpoint / "last.ckpt"
    used: list[Callback] = [*callbacks, TQDMProgressBar(refresh_rate=1 if os.isatty(2) else 0)]
    together = module.batches_together
    every = max(1, len(data.train) // together // module.config.validations) * together
    if resumable:
        # After each validation, not before: a run killed in between would never make up for it.
        used.append(
            ModelCheckpoint(
                checkpoint,
                filename="last",
                save_on_train_epoch_end=False,
                enable_version_counter=False,
            )
        )
    trainer = _trainer(trainer_config, module, every, used, RunLogger(folder, tracker))
    resume_from = trainer.strategy.broadcast(str(last) if resumable and last.exists() else None)
    if is_first():
        drop_metrics_from(folder, _step_of(last) if resume_from else 0)
    _run(trainer, module, data, resume_from)
    metrics = {
        name: value
        for _, values in folder.metrics()
        for name, value in values.items()
        if name.startswith("dev_")
    }
    seconds = round(module.seconds, 2)
    facts = {"train_seconds": seconds, "skipped_steps": module.skipped_steps}
    return Fitted(metrics, **facts, **({"stopped": module.stopped} if module.stopped else {}))


def _run(
    trainer: L.Trainer, module: TrainingModule, data: NlaDataModule, resume_from: str | None
) -> None:
    """Validate, train, and turn expected failures into an NlaError."""
    try:
        if module.validates_first and not resume_from:
            trainer.validate(module, data, verbose=False)
        if data.train:
            trainer.fit(module, data, ckpt_path=resume_from, weights_only=False)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        where = f"step {module.global_step}"
        raise NlaError(out_of_memory(error), where=where, remedy=module.memory_remedy) from error
    except SystemExit as error:  # Lightning raises it at Ctrl-C
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise


def drop_metrics_from(folder: RunFolder, step: int) -> None:
    """Drop metrics of an earlier attempt, from the step at which this one starts."""
    kept = [(at, values) for at, values in folder.metrics() if at < step]
    folder.metrics_file.unlink(missing_ok=True)
    for at, values in kept:
        folder.log(values, at)


def _step_of(checkpoint: Path) -> int:
    try:
        saved = torch.load(checkpoint, weights_only=False, map_location="cpu", mmap=True)
        return saved["global_step"]
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        remedy = "delete it: the run begins again"
        raise NlaError("damaged checkpoint", where=checkpoint, remedy=remedy) from error


def _strategy(trainer: TrainerConfig) -> Any:
    """Lightning's strategy; `fsdp2` is our name for FSDP2, for which Lightning has none."""
    if trainer.strategy != "fsdp2":
        return trainer.strategy
    from lightning.pytorch.strategies import ModelParallelStrategy

    return ModelParallelStrategy(
        data_parallel_size=int(trainer.devices) * trainer.num_nodes,
        tensor_parallel_size=1,
        save_distributed_checkpoint=False,
    )


def _trainer(
    trainer: TrainerConfig,
    module: TrainingModule,
    every: int,
    callbacks: list[Callback],
    logger: Logger,
) -> L.Trainer:
    steps = module.total_steps
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    made = L.Trainer(
        **trainer.model_dump() | {"strategy": _strategy(trainer)},
        max_epochs=1,
        max_steps=steps,
        val_check_interval=every,
        num_sanity_val_steps=0,
        log_every_n_steps=1 if module.validates_first else max(1, min(10, steps // 10)),
        accumulate_grad_batches=module.accumulate,
        callbacks=callbacks,
        plugins=[ReplacingCheckpointIO(), *_environment()],
        logger=logger,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
    )
    if made.world_size > 1:
        # Its handler of SIGTERM waits for the other processes, which may be waiting for this one.
        made._signal_connector.register_signal_handlers = lambda: None
    return made


def _environment() -> list[LightningEnvironment]:
    """Processes that we started use our variables, also inside a SLURM job."""
    ours = "RANK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ
    return [LightningEnvironment()] if ours else []
