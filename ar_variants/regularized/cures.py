"""What makes it harder for an AR to learn: cures for one that is too smart."""

from math import inf

from pydantic import Field

from ar_variants.regularized.channels import (
    FormatMix,
    Paraphrase,
    QuoteMask,
    WordDropout,
    one_after_another,
)
from common.config_base import Config
from common.training.context import Channel

CHANNELS = {
    "word_dropout": WordDropout,
    "paraphrase": Paraphrase,
    "quote_mask": QuoteMask,
    "format_mix": FormatMix,
}
"""Cures that change the text before the AR reads it, in this order."""
MOST = {"embedding_noise": inf} | dict.fromkeys(("dropout", "word_dropout", "shrink"), 0.9)
"""How strong a cure may become by tuning; the others 1."""


class Cures(Config):
    """How strong each cure is; 0: not used. An AR may get several."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of what blocks add to the residual stream, and of attention weights, that is lost."""
    embedding_noise: float = Field(default=0.0, ge=0)
    """Length of the noise on an embedding, in lengths of the embedding."""
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the words that never arrive."""
    paraphrase: float = Field(default=0.0, ge=0, le=1)
    """Share of the texts that arrive in other words and another order."""
    quote_mask: float = Field(default=0.0, ge=0, le=1)
    """Share of the texts whose quotations arrive hidden."""
    format_mix: float = Field(default=0.0, ge=0, le=1)
    """Share of the texts that arrive in another format and order."""
    shrink: float = Field(default=0.0, ge=0, lt=1)
    """How far targets are moved to the mean direction."""

    def scaled(self, factor: float) -> "Cures":
        """All strengths times a factor, as far as they go."""
        strengths = self.model_dump().items()
        return Cures(**{name: min(one * factor, MOST.get(name, 1.0)) for name, one in strengths})

    @property
    def channel(self) -> Channel:
        """What happens to texts before the AR reads them."""
        strengths = {name: getattr(self, name) for name in CHANNELS}
        return one_after_another([CHANNELS[name](one) for name, one in strengths.items() if one])
