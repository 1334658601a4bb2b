"""A frozen sentence encoder, for the floor that reads no word order of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.device import best_device
from common.errors import NlaError, first_line
from common.packages import source_path
from common.target.load import Target, loading_errors


class Embedder:
    """Mean-pooled, unit-length embeddings of a frozen encoder; each text is encoded once."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int = 64) -> None:
        """`model` gives `last_hidden_state`."""
        self.model = model.eval().to(best_device())
        self.tokenizer, self.batch_size = tokenizer, batch_size
        self.known: dict[str, np.ndarray] = {}

    @classmethod
    def load(cls, source: str, sha256: str | None, target: Target) -> "Embedder":
        """`target` (its own hidden states), a folder, a hub name or a package."""
        path = source_path(source, sha256)
        if path == "target":
            return cls(target.model.get_decoder(), target.tokenizer)
        from transformers import AutoModel, AutoTokenizer

        try:
            return cls(AutoModel.from_pretrained(path), AutoTokenizer.from_pretrained(path))
        except loading_errors() as error:
            what = f"no such embedder, or a damaged one ({first_line(error)})"
            remedy = "correct evaluation.embedder, or set it to `target`, which needs no download"
            raise NlaError(what, where=source, remedy=remedy) from error

    def __deepcopy__(self, memo: dict) -> "Embedder":
        """Itself: it never changes, and is large."""
        return self

    @torch.inference_mode()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings [len(texts), width]."""
        new = sorted(
            {text for text in texts if text not in self.known}, key=lambda text: (len(text), text)
        )
        for start in range(0, len(new), self.batch_size):
            chunk = new[start : start + self.batch_size]
            batch = self.tokenizer(
                [text or " " for text in chunk],
                padding=True,
                truncation=True,
                max_length=256,
                split_special_tokens=True,
                return_tensors="pt",
            )
            inputs = {
                name: batch[name].to(best_device()) for name in ("input_ids", "attention_mask")
            }
            hidden = self.model(**inputs).last_hidden_state
            mask = inputs["attention_mask"][..., None].float()
            pooled = ((hidden * mask).sum(1) / mask.sum(1).clamp(min=1)).cpu()
            self.known |= zip(
                chunk, torch.nn.functional.normalize(pooled, dim=1).numpy(), strict=True
            )
        return np.stack([self.known[text] for text in texts])
