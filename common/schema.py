"""Names used everywhere: splits, columns of the tables, and the batches that models read.

Axis names used in tensor annotations everywhere:
    batch     examples in a batch
    time      token positions of a right-padded text
    slots     injected tokens per explanation (1 unless the profile says otherwise)
    d_model   width of the target's residual stream
    width     what an AV reads of each example: d_model for each position of its window
    vocab     tokens of the target's tokenizer
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AV_SFT, AR_SFT, RL, DEV, TEST = "av_sft", "ar_sft", "rl", "dev", "test"
SPLITS = (AV_SFT, AR_SFT, RL, DEV, TEST)
TRAINING_SPLITS = (AV_SFT, AR_SFT, RL)

KEY, DOC_ID, SPLIT, POSITION = "key", "doc_id", "split", "position"
TEXT, TITLE, DESCRIPTION, TOPIC = "text", "title", "description", "topic"
TOKEN_IDS, NEXT_TOKENS, NEXT_PROBS = "token_ids", "next_tokens", "next_probs"
EXPLANATION = "explanation"

TEACHER, AV = "teacher", "av"
"""Who wrote an explanation (column `source`)."""
AV_UNTRAINED_AR, AV_NEUTRAL_AR = "av_untrained_ar", "av_neutral_ar"
"""An AV's own text, read by the AR as it was before, or by an AR trained on all arms' texts."""

NEAREST_TEXT, NEXT_TOKENS_TEXT = "nearest_text", "next_tokens_text"
"""Reference writers, whose texts an arm's own AR reads: the teacher's text of the nearest training
activation, and a list of the target's own likeliest next tokens."""


def activation_key(doc_id: str, position: int) -> str:
    """The key that joins activations, explanations and results: `<doc_id>:<position>`."""
    return f"{doc_id}:{position}"


def activation_column(layer: int) -> str:
    """Column of the raw residual stream after block `layer`."""
    return f"activation_{layer}"


def window_column(layer: int) -> str:
    """Column of the raw residual stream of the positions before, one after another."""
    return f"window_{layer}"


class TokenBatch(NamedTuple):
    """Right-padded token ids; `mask` is True on real tokens (never infer it from the pad id)."""

    ids: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time"]

    def to(self, device: torch.device) -> "TokenBatch":
        """The same on another device."""
        return TokenBatch(self.ids.to(device), self.mask.to(device))


class Reading(NamedTuple):
    """What an AR reads: an explanation, and those of the input's tokens that the arm may see."""

    text: str
    source: tuple[int, ...] = ()


Reader = Callable[[Sequence[Reading]], Float[Tensor, "rows d_model"]]
"""Readings → reconstructions: an AR, or a floor that stands in for one."""
View = Callable[[tuple[int, ...]], tuple[int, ...]]
"""All token ids of an input, up to the position → those that an arm's AR may see."""


def nothing(source: tuple[int, ...]) -> tuple[int, ...]:
    """The view of an AR that reads explanations alone."""
    return ()


def readings_of(
    texts: Sequence[str], sources: Iterable[Sequence[int]] | None = None
) -> list[Reading]:
    """A reading of each text, with what may be seen of its input (None: nothing, of any)."""
    if sources is None:
        return [Reading(text) for text in texts]
    return [Reading(text, tuple(ids)) for text, ids in zip(texts, sources, strict=True)]


class ReconstructionBatch(NamedTuple):
    """What the AR trains on: explanations and the raw activations they should give back."""

    tokens: Any
    """What the AR's `encode` makes of its readings: a TokenBatch, or an AR's own kind of batch."""
    activations: Float[Tensor, "batch d_model"]


class VerbalizationBatch(NamedTuple):
    """What the AV trains on: prompt + explanation, what it reads, and where the loss counts."""

    tokens: TokenBatch
    inputs: Float[Tensor, "batch width"]
    """Raw activations: the one that is explained, behind those of the window before it."""
    is_explanation: Bool[Tensor, "batch time"]

    def to(self, device: torch.device) -> "VerbalizationBatch":
        """The same on another device."""
        inputs, counts = self.inputs.to(device), self.is_explanation.to(device)
        return VerbalizationBatch(self.tokens.to(device), inputs, counts)


class PolicyBatch(NamedTuple):
    """What reinforcement learning samples explanations for: activations, by key."""

    keys: list[str]
    activations: Float[Tensor, "batch d_model"]
    """What the explanations should give back."""
    inputs: Float[Tensor, "batch width"]
    """What the AV reads; without a window the same."""
