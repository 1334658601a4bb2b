"""One process that takes GRPO steps when told to, in our way or with TRL: `... request.json`.

It prints `ready` after a first step, then for each line that it reads the seconds of one more step
and where they went, and at the end of its input its peak memory, as JSON.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

SAMPLING, SCORING, REFERENCE = "sampling", "scoring", "reference"
FORWARD, READING, BACKWARD = "policy forward", "AR", "backward"
IN_SCORER = {SAMPLING: "_sample", SCORING: "_learned"}
WATCHED = {REFERENCE: "_reference", FORWARD: "_policy_loss", READING: "_reconstruction_loss"}
"""Parts of our step, and the methods of `PolicyModule` (above: of its scorer) that take them."""
ENDLESS = 10_000
"""Steps of a run that ends with its input."""


class Turns:
    """A step begins when a line comes and ends with an answer."""

    def __init__(self) -> None:
        self.first, self.started = True, 0.0
        self.parts: dict[str, float] = {}

    def begin(self) -> None:
        """Wait for a line, except before the first step; at the end of the input leave."""
        if not self.first and not sys.stdin.readline():
            # Resident memory in GiB; the trainer's own way out would write checkpoints.
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(json.dumps(peak), flush=True)
            os._exit(0)
        self.parts.clear()
        self.started = time.perf_counter()

    def end(self) -> None:
        """Answer; the first step is a warm-up."""
        seconds = time.perf_counter() - self.started
        print("ready" if self.first else json.dumps([seconds, self.parts]), flush=True)
        self.first = False

    def watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time noted as a part of the step."""

        def call(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            found = function(*arguments, **named)
            self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - started
            return found

        return call


def with_nla(asked: SimpleNamespace, turns: Turns) -> None:
    """PolicyModule under Lightning as an arm trains it, without dev documents and MLflow."""
    import lightning as L

    from common.allocator import keep_freed_memory
    from common.config import TrainerConfig
    from common.data.batches import plan_rollouts
    from common.data.datamodule import NlaDataModule
    from common.runs import MadeWith, RunFolder
    from common.schema import PolicyBatch
    from common.tracking.tracker import Tracker
    from common.training.trainer import fit

    keep_freed_memory()  # as `nla` does
    module = _module(asked)
    for owner, parts in ((module.scorer, IN_SCORER), (module, WATCHED)):
        for name, method in parts.items():
            setattr(owner, method, turns.watched(name, getattr(owner, method)))

    class Pace(L.Callback):
        def on_train_batch_start(
            self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
        ) -> None:
            turns.begin()

        def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
            self.backward = time.perf_counter()

        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            turns.parts[BACKWARD] = time.perf_counter() - self.backward

        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            turns.end()

    vectors = _vectors(module.verbalizer.language_model.config.hidden_size)
    by_key: Any = _ByKey((str(number), vector) for number, vector in enumerate(vectors))
    plan = plan_rollouts(list(by_key), asked.activations, ENDLESS, 1, seed=0)
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "cpu" / "bench" / "nla" / "0")
        folder.begin(MadeWith({}, {}, {"trained": "", "tested": ""}))
        data = NlaDataModule(plan, [], by_key, lambda keys, v: PolicyBatch(keys, v, v))
        trainer = TrainerConfig(accelerator="cpu", precision=asked.precision)
        fit(module, data, trainer, Tracker(folder, None), [Pace()], resumable=False)


class _ByKey(dict):
    """Activations, several at once."""

    def __getitem__(self, keys: list[str]) -> torch.Tensor:
        return torch.stack([super(_ByKey, self).__getitem__(key) for key in keys])


def _vectors(width: int) -> torch.Tensor:
    """Activations of the lengths that real ones have."""
    return 100 * torch.randn(64, width, generator=torch.Generator().manual_seed(0))


def _module(asked: SimpleNamespace) -> Any:
    """The AV under fresh adapters and the AR; no explanation ends, so that all are as long."""
    from bench.rollouts import endless
    from common.config import AVConfig, RLConfig
    from common.models.reconstructor import TruncatedReconstructor
    from common.target.load import load_target
    from common.training.context import PolicyContext
    from common.training.policy import PolicyModule

    target = load_target(Path(asked.target))
    model = target.model
    if asked.blocks:
        model.model.layers = model.model.layers[: asked.blocks]
        model.config.num_hidden_layers = asked.blocks
    verbalizer = endless(target, AVConfig(examples=1, learning_rate=1e-5), asked.tokens)
    reconstructor = TruncatedReconstructor(model, target.tokenizer, asked.ar_blocks, asked.tokens)
    config = RLConfig(
        steps=ENDLESS,
        activations=asked.activations,
        samples=asked.samples,
        learning_rate=1e-5,
        ar_learning_rate=1e-5,
        must_end=False,
        trained="both" if asked.train_ar else "av",
    )
    return PolicyModule(
        verbalizer, reconstructor, config, PolicyContext(1.0, 0, precision=asked.precision)
    )


def with_trl(asked: SimpleNamespace, turns: Turns) -> None:
    """GRPOTrainer with adapters and KL; the reward function runs the AR, and may train it."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer  # pyright: ignore[reportMissingImports]

    class Pace(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            turns.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            turns.end()

    tokenizer = AutoTokenizer.from_pretrained(asked.target)
    rows = [{"prompt": asked.prompt, "place": place} for place in range(64)]
    low = asked.precision.startswith("bf16")
    with tempfile.TemporaryDirectory() as place:
        settings = GRPOConfig(
            output_dir=place,
            per_device_train_batch_size=asked.activations * asked.samples,
            num_generations=asked.samples,
            max_completion_length=asked.tokens,
            generation_kwargs={"min_new_tokens": asked.tokens},
            max_steps=ENDLESS,
            learning_rate=1e-5,
            beta=0.01,
            temperature=1.0,
            bf16=low,
            use_cpu=True,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(asked.target, dtype=torch.float32),
            reward_funcs=_reward(asked, turns, tokenizer),
            args=settings,
            train_dataset=_dataset(rows),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=16, target_modules="all-linear"),
            callbacks=[Pace()],
        )
        trainer.train()


def _dataset(rows: list[dict]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _reward(asked: SimpleNamespace, turns: Turns, tokenizer: Any) -> Callable[..., list[float]]:
    """Minus the squared error of the AR's answer, in padded batches, as one writes it plainly."""
    from plain_trainer import PlainReconstructor

    model = PlainReconstructor(asked.target, asked.ar_blocks)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    vectors = _vectors(model.head.in_features)
    low = asked.precision.startswith("bf16")

    def run(texts: list[str], truth: torch.Tensor) -> dict:
        before, after = asked.frame
        framed = [before + text + after for text in texts]
        batch = tokenizer(framed, return_tensors="pt", padding=True, padding_side="right")
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            return model(batch["input_ids"], batch["attention_mask"], truth, truth)

    @torch.no_grad()
    def score(texts: list[str], truth: torch.Tensor) -> list[float]:
        read = run(texts, truth)["logits"]
        return (torch.nn.functional.cosine_similarity(read, truth) * 2 - 2).tolist()

    def learn(texts: list[str], truth: torch.Tensor) -> None:
        run(texts, truth)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def reward(completions: list[str], place: list[int], **_: Any) -> list[float]:
        truth = vectors[place]
        rewards = turns.watched(SCORING, score)(completions, truth)
        if asked.train_ar:
            turns.watched(READING, learn)(completions, truth)
        return rewards

    return reward


if __name__ == "__main__":
    request = SimpleNamespace(**json.loads(Path(sys.argv[1]).read_text()))
    torch.set_num_threads(request.threads)
    {"nla": with_nla, "trl": with_trl}[request.kind](request, Turns())
