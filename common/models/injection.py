"""Put vectors into a language model's token stream: pure functions on tensors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def unit(vectors: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
    """V / |v|, with the epsilon inside the root so that a zero vector has a finite gradient."""
    return vectors * torch.rsqrt(vectors.pow(2).sum(-1, keepdim=True) + 1e-12)


def replace(
    embeddings: Float[Tensor, "batch time d_model"],
    columns: Sequence[int],
    vectors: Float[Tensor, "batch slots d_model"],
    alpha: float,
) -> Float[Tensor, "batch time d_model"]:
    """Embeddings whose slot columns are `alpha * v/|v|` (the published recipe)."""
    injected = embeddings.clone()
    injected[:, list(columns)] = (alpha * unit(vectors)).to(embeddings.dtype)
    return injected


def add_norm_matched(
    hidden: Float[Tensor, "batch time d_model"],
    columns: Sequence[int],
    vectors: Float[Tensor, "batch slots d_model"],
) -> Float[Tensor, "batch time d_model"]:
    """Hidden states whose slot columns gain a vector of their own norm: `x + |x| v/|v|`.

    Source: Activation Oracles (Karvonen et al. 2025), applied at the output of block 1.
    """
    added = hidden.clone()
    slots = hidden[:, list(columns)]
    added[:, list(columns)] = slots + slots.norm(dim=-1, keepdim=True) * unit(vectors).to(
        hidden.dtype
    )
    return added


def repeat(
    vectors: Float[Tensor, "batch d_model"], slots: int
) -> Float[Tensor, "batch slots d_model"]:
    """The same vector in every slot: the decomposition that does not decompose."""
    return vectors[:, None].expand(-1, slots, -1)
