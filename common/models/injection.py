"""Put vectors into a language model's sequence of tokens: pure functions on tensors."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


def replace(
    embeddings: Float[Tensor, "batch time d_model"],
    columns: Sequence[int],
    vectors: Float[Tensor, "batch slots d_model"],
    alpha: float,
) -> Float[Tensor, "batch time d_model"]:
    """Embeddings with `alpha * v` in the slot columns: the published recipe, for v of length 1."""
    injected = embeddings.clone()
    injected[:, list(columns)] = (alpha * vectors).to(embeddings.dtype)
    return injected


def add_norm_matched(
    hidden: Float[Tensor, "batch time d_model"],
    columns: Sequence[int],
    vectors: Float[Tensor, "batch slots d_model"],
) -> Float[Tensor, "batch time d_model"]:
    """Hidden states with a vector added in the slot columns, in units of their norm: `x + |x| v`.

    Source: Activation Oracles (Karvonen et al. 2025), applied at the output of block 1.
    """
    added = hidden.clone()
    slots = hidden[:, list(columns)]
    added[:, list(columns)] = slots + slots.norm(dim=-1, keepdim=True) * vectors.to(hidden.dtype)
    return added
