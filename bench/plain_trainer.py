"""AR and AV training as one writes it with transformers and peft alone: the Trainer's defaults.

Dynamic padding with an attention mask, random order, logits and labels for the whole sequence, and
examples that are tokenised beforehand (that time is not counted).
"""

import tempfile
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100


class PlainExample(NamedTuple):
    """Token ids of one text, how many of them are prompt, and the raw activation."""

    ids: list[int]
    prompt: int
    activation: Tensor


class Loop(NamedTuple):
    """Seconds between the first step's start and the last one's end, and the token rows seen."""

    seconds: float
    rows: list[list[int]]

    @property
    def tokens(self) -> int:
        """Real tokens, no padding."""
        return sum(map(len, self.rows))


class PlainReconstructor(nn.Module):
    """The first blocks of the model without final norm, and a linear head on the last token."""

    def __init__(self, folder: str, blocks: int) -> None:
        """`folder` holds the target."""
        super().__init__()
        from transformers import AutoModel

        self.decoder = AutoModel.from_pretrained(folder, dtype=torch.float32)
        self.decoder.layers = self.decoder.layers[:blocks]
        self.decoder.config.num_hidden_layers = blocks
        self.decoder.norm = nn.Identity()
        self.decoder.get_input_embeddings().requires_grad_(False)
        width = self.decoder.config.hidden_size
        self.head = nn.Linear(width, width)
        nn.init.eye_(self.head.weight)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, activations: Tensor
    ) -> dict:
        """Mean of 2(1 - cos); the labels are of no use here."""
        output = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        rows = torch.arange(len(input_ids))
        last = output.last_hidden_state[rows, attention_mask.sum(1) - 1]
        predictions = self.head(last).float()
        cosines = functional.cosine_similarity(predictions, activations, dim=1)
        return {"loss": (2 - 2 * cosines).mean(), "logits": predictions}


class PlainVerbalizer(nn.Module):
    """The causal LM, whole or with adapters; a marker's embedding is the scaled activation."""

    def __init__(self, folder: str, rank: int, column: int, alpha: float) -> None:
        """Rank 0 trains everything; `column` holds the marker, `alpha` is the norm injected."""
        super().__init__()
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.column, self.alpha = column, alpha
        if rank:
            adapters = LoraConfig(r=rank, lora_alpha=rank, target_modules="all-linear")
            self.model = get_peft_model(self.model, adapters)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, activations: Tensor
    ) -> dict:
        """The library's own loss on the labels."""
        embeddings = self.model.get_input_embeddings()(input_ids).clone()
        embeddings[:, self.column] = self.alpha * functional.normalize(activations, dim=1)
        output = self.model(inputs_embeds=embeddings, attention_mask=attention_mask, labels=labels)
        return {"loss": output.loss, "logits": output.logits}


class PaddingCollator:
    """Pads each batch to its longest text, and keeps the rows it has seen."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def __call__(self, batch: list[PlainExample]) -> dict[str, Tensor]:
        """Right-padded ids, mask, labels without the prompts, activations."""
        self.rows += [example.ids for example in batch]
        texts = [torch.tensor(example.ids) for example in batch]
        labels = [torch.tensor([IGNORED] * one.prompt + one.ids[one.prompt :]) for one in batch]
        return {
            "input_ids": pad_sequence(texts, batch_first=True),
            "attention_mask": pad_sequence(
                [torch.ones_like(text) for text in texts], batch_first=True
            ),
            "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
            "activations": torch.stack([example.activation for example in batch]),
        }


def train_plainly(
    model: nn.Module, examples: list[PlainExample], batch_size: int, low: bool
) -> Loop:
    """One epoch of transformers' Trainer; `low`: bf16=True, else fp32."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    collator, clock = PaddingCollator(), _clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            num_train_epochs=1,
            bf16=low,
            use_cpu=True,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        trainer = Trainer(
            model=model,
            args=settings,
            train_dataset=examples,  # pyright: ignore[reportArgumentType]
            data_collator=collator,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Loop(clock.seconds, collator.rows)


def _clock() -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        started = seconds = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.started = time.perf_counter()

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.started

    return Clock()
