"""The published AR with noise in its training: dropout, noise on embeddings, softened targets."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import NlaError
from common.metrics.fve import normalize, normalized_mse
from common.models.reconstructor import TruncatedReconstructor
from common.schema import TokenBatch


class Noise(NamedTuple):
    """What makes training harder; nothing of it by default."""

    dropout: float = 0.0
    """Share of the numbers that attention and MLP of a block add to the residual stream that are
    dropped, and of attention weights."""
    on_embeddings: float = 0.0
    """Length of Gaussian noise on a token's embedding, in lengths of it.
    Source: NEFTune (Jain et al. 2023), whose noise is uniform and not in proportion."""
    shrink: float = 0.0
    """How far targets are moved from n(h) to the mean direction, as labels are smoothed."""


class NoisyReconstructor(TruncatedReconstructor):
    """Reads as the published AR does, and differs from it in training mode alone."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        blocks: int,
        max_explanation_tokens: int,
        noise: Noise,
        mean: Float[Tensor, " d_model"],
    ) -> None:
        """See `TruncatedReconstructor`; `mean` is the mean of n(h).

        NlaError where dropout is asked of a model whose blocks have unknown parts.
        """
        super().__init__(model, tokenizer, blocks, max_explanation_tokens)
        self.noise = noise
        self.noisy_in_training = noise.dropout > 0 or noise.on_embeddings > 0
        self.mean: Tensor
        self.register_buffer("mean", mean.clone(), persistent=False)
        if noise.dropout:
            self._drop_in_blocks()

    def embedded(self, tokens: TokenBatch) -> Float[Tensor, "batch time d_model"]:
        """With noise on each embedding, the same for equal tokens of one batch's first places.

        The embeddings themselves, which the target's output layer may share, stay as they are.
        """
        found = super().embedded(tokens)
        if not (self.training and self.noise.on_embeddings):
            return found
        scale = self.noise.on_embeddings * found.norm(dim=-1, keepdim=True) / found.shape[-1] ** 0.5
        return found + scale * torch.randn_like(found)

    def loss_terms(
        self,
        predictions: Float[Tensor, "batch d_model"],
        activations: Float[Tensor, "batch d_model"],
    ) -> dict[str, Tensor]:
        """The usual one, against targets that are moved to the mean."""
        targets = torch.lerp(normalize(activations), self.mean.to(activations), self.noise.shrink)
        return {"mse": normalized_mse(predictions, targets)}

    def _drop_in_blocks(self) -> None:
        for block in self.decoder.layers:
            attention, mlp = getattr(block, "self_attn", None), getattr(block, "mlp", None)
            if attention is None or mlp is None or not hasattr(attention, "attention_dropout"):
                what = f"no dropout can be put into blocks of class {type(block).__name__}"
                raise NlaError(what, where="arms", remedy="leave `dropout` out for this target")
            attention.attention_dropout = self.noise.dropout
            for part in (attention, mlp):
                part.register_forward_hook(self._dropped)

    def _dropped(self, part: nn.Module, given: Any, output: Any) -> Any:
        """What a part of a block adds to the residual stream, some of it dropped in training."""
        if isinstance(output, tuple):
            return (self._dropped(part, given, output[0]), *output[1:])
        return nn.functional.dropout(output, self.noise.dropout, self.training)
