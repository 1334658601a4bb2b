"""ARs with less room: fewer blocks, a narrow head, or no blocks at all."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import NlaError
from common.metrics.fve import normalize
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.schema import TokenBatch


class LowRankReconstructor(TruncatedReconstructor):
    """All blocks, but the head can only move within `rank` directions around the mean activation.

    The head starts at the principal directions of n(h), the best subspace of that rank; the
    identity of the full head is not available to a narrow one.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        blocks: int,
        max_explanation_tokens: int,
        rank: int,
        activations: Float[Tensor, "rows d_model"],
    ) -> None:
        """`activations` are the training ones; NlaError when they are too few for `rank`."""
        largest = min(activations.shape)
        if rank > largest:
            what = f"rank {rank}, but the activations span at most {largest} directions"
            raise NlaError(what, where="arms", remedy=f"set `rank` to at most {largest}")
        super().__init__(model, tokenizer, blocks, max_explanation_tokens)
        directions = normalize(activations)
        mean = directions.mean(0)
        principal = torch.linalg.svd(directions - mean, full_matrices=False).Vh[:rank]
        down = nn.Linear(principal.shape[1], rank, bias=False)
        up = nn.Linear(rank, principal.shape[1])
        with torch.no_grad():
            down.weight.copy_(principal)
            up.weight.copy_(principal.T)
            up.bias.copy_(mean)
        self.head = nn.Sequential(down, up)

    @property
    def last_bias(self) -> nn.Parameter | None:
        """That of the way up."""
        return self.head.get_parameter("1.bias")


class BagOfWordsReconstructor(Reconstructor):
    """The target's frozen embeddings, averaged without order, and two linear layers.

    An AR that cannot tell `rights of women` from `women of rights`: whatever it scores, words alone
    gave away.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        max_explanation_tokens: int,
        hidden: int,
        mean: Float[Tensor, " d_model"],
    ) -> None:
        """`hidden` is the width of the one hidden layer; the output starts at `mean`."""
        super().__init__(tokenizer, max_explanation_tokens)
        embeddings = model.get_input_embeddings().weight.detach()
        self.embed = nn.Embedding.from_pretrained(embeddings.clone(), freeze=True)
        width = embeddings.shape[1]
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU())
        self.head = nn.Linear(hidden, width)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(mean)

    @property
    def last_bias(self) -> nn.Parameter | None:
        """The head's."""
        return self.head.bias

    def forward(self, tokens: TokenBatch) -> Float[Tensor, "batch d_model"]:
        """Mean embedding of the explanation's tokens (the template's cancel in the norm), mixed."""
        mask = tokens.mask[..., None].float()
        mean = (self.embed(tokens.ids) * mask).sum(1) / mask.sum(1)
        return self.head(self.mix(mean)).float()
