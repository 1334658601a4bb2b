"""An AR whose answer to the words is added to what a vector of the input predicts by itself."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from ar_variants.input_aware.views import Encoder, Source
from common.evaluation.ridge import ridge_by_document
from common.models.checkpoint import FittedModule
from common.models.reconstructor import TruncatedReconstructor, last_of
from common.schema import Reading, TokenBatch


class Taught(NamedTuple):
    """What a closed form is fitted to."""

    sources: list[Source]
    activations: Float[Tensor, "rows d_model"]
    documents: list[str]


class InformedBatch(NamedTuple):
    """Explanations, with the vector of what is seen of each input."""

    tokens: TokenBatch
    vectors: Float[Tensor, "batch width"]
    """Zero where nothing is seen."""
    seen: Bool[Tensor, " batch"]
    told: Bool[Tensor, " batch"]
    """False for an empty explanation."""

    def to(self, device: torch.device) -> "InformedBatch":
        """The same on another device."""
        tokens, seen, told = self.tokens.to(device), self.seen.to(device), self.told.to(device)
        return InformedBatch(tokens, self.vectors.to(device), seen, told)


class ClosedForm(FittedModule):
    """Predicts n(h) from a vector of the input by a ridge regression."""

    weight: Tensor
    bias: Tensor
    unit: Tensor
    """The length of a state of the AR that reads words, in units of n(h)."""

    def __init__(self, encoder: Encoder, mean: Float[Tensor, " d_model"]) -> None:
        """Predicts `mean`, μ of the training documents, until it is fitted."""
        super().__init__()
        self.encoder = encoder
        self.register_buffer("weight", torch.zeros(sum(encoder.widths), len(mean)))
        self.register_buffer("bias", mean.clone())
        self.register_buffer("unit", torch.ones(()))

    def fit(self, taught: Taught) -> None:
        """Each block of features has a penalty of its own, chosen by document."""
        blocks = self.encoder(taught.sources).split(self.encoder.widths, 1)
        found = ridge_by_document(blocks, taught.activations, taught.documents)
        self.weight.copy_(found.weight)
        self.bias.copy_(found.bias)

    def forward(self, vectors: Float[Tensor, "batch width"]) -> Float[Tensor, "batch d_model"]:
        """In units of n(h), in float32."""
        with torch.autocast(vectors.device.type, enabled=False):
            return vectors.float() @ self.weight + self.bias


class InformedReconstructor(TruncatedReconstructor):
    """The published AR beside a closed form of the input; their answers are added up.

    Where nothing is seen the closed form answers μ, and an empty explanation adds nothing. The head
    starts as the identity, its answers around 0: a head that was scaled to n(h) instead would be
    small, and steps of a size that suits the blocks would be too large for it.
    """

    mean: Tensor

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        blocks: int,
        max_explanation_tokens: int,
        closed: ClosedForm,
        taught: Callable[[], Taught],
    ) -> None:
        """See `TruncatedReconstructor`; `prepare` fits the closed form to `taught`."""
        super().__init__(model, tokenizer, blocks, max_explanation_tokens)
        self.closed, self.taught = closed, taught
        self.register_buffer("mean", closed.bias.clone(), persistent=False)

    def encode(self, readings: Sequence[Reading]) -> InformedBatch:
        """The prompt with the explanation, and the vector of what is seen."""
        tokens = super().encode(readings)
        seen = torch.tensor([bool(one.source) for one in readings])
        vectors = torch.zeros(len(readings), sum(self.closed.encoder.widths))
        vectors[seen] = self.closed.encoder([one.source for one in readings if one.source])
        return InformedBatch(tokens, vectors, seen, torch.tensor([bool(r.text) for r in readings]))

    def tokens_in(self, readings: Sequence[Reading]) -> int:
        """How many tokens it reads in all, without those that the closed form was made from."""
        return int(super().encode(readings).mask.sum())

    def forward(self, tokens: Any) -> Float[Tensor, "batch d_model"]:
        """The sum, in units of n(h), for an InformedBatch."""
        words = self.head(self.last_state_of(tokens)).float() / self.closed.unit
        return self.starts(tokens) + self.speaks(tokens)[:, None] * words

    def starts(self, batch: InformedBatch) -> Float[Tensor, "batch d_model"]:
        """What is predicted without any word."""
        return torch.where(batch.seen[:, None], self.closed(batch.vectors), self.mean)

    def predicted(self, sources: Sequence[Source]) -> Float[Tensor, "rows d_model"]:
        """What the closed form predicts from what is seen of some inputs, on the CPU."""
        vectors = self.closed.encoder(sources).to(self.closed.weight.device)
        return self.closed(vectors).cpu()

    def speaks(self, batch: InformedBatch) -> Bool[Tensor, " batch"]:
        """Where the head's answer counts: where there is an explanation."""
        return batch.told

    def last_state_of(self, batch: InformedBatch) -> Float[Tensor, "batch width"]:
        """The state that the head reads."""
        return self.last_state(batch.tokens)

    @torch.no_grad()
    def prepare(
        self,
        readings: Sequence[Reading],
        activations: Float[Tensor, "batch d_model"],
        documents: list[str],
    ) -> None:
        """Fit the closed form and the unit; the head's answers to some readings get a mean of 0."""
        self.closed.fit(self.taught())
        states = self.last_state_of(self.encode(readings).to(self.head.weight.device))
        self.closed.unit.copy_(states.norm(dim=1).mean() / states.shape[1] ** 0.5)
        self.head.bias.copy_(-states.mean(0))


class InjectedReconstructor(InformedReconstructor):
    """Also reads the vector itself, as a token behind the prompt, where the head reads.

    So that words may mean different things beside different inputs.
    """

    def __init__(self, *parts: Any) -> None:
        """As `InformedReconstructor`; the token starts as long as embeddings are."""
        super().__init__(*parts)
        table = self.decoder.get_input_embeddings().weight
        width = sum(self.closed.encoder.widths)
        self.slot = nn.Linear(width, table.shape[1])
        nn.init.orthogonal_(self.slot.weight)
        nn.init.zeros_(self.slot.bias)
        with torch.no_grad():
            if width == table.shape[1]:
                nn.init.eye_(self.slot.weight)
            self.slot.weight.mul_(table.norm(dim=1).mean() / width**0.5)

    def encode(self, readings: Sequence[Reading]) -> InformedBatch:
        """With a token more, at the end, where something is seen."""
        batch = super().encode(readings)
        ids, mask = (functional.pad(part, (0, 1)) for part in batch.tokens)
        rows, ends = torch.arange(len(ids)), batch.tokens.mask.sum(1)
        mask[rows, ends] = batch.seen
        return batch._replace(tokens=TokenBatch(ids, mask))

    def tokens_in(self, readings: Sequence[Reading]) -> int:
        """One token more for each input that is seen."""
        return super().tokens_in(readings) + sum(bool(one.source) for one in readings)

    def speaks(self, batch: InformedBatch) -> Bool[Tensor, " batch"]:
        """Also without an explanation, where the vector is read."""
        return batch.told | batch.seen

    def last_state_of(self, batch: InformedBatch) -> Float[Tensor, "batch width"]:
        """The state of the vector's token, or where nothing is seen of the prompt's last one."""
        vectors = functional.normalize(batch.vectors, dim=1) * batch.vectors.shape[1] ** 0.5
        embeddings = self.embedded(batch.tokens)
        rows = batch.seen.nonzero().squeeze(1)
        ends = batch.tokens.mask.sum(1)[rows] - 1
        slots = self.slot(vectors[rows]).to(embeddings.dtype)
        embeddings = embeddings.index_put((rows, ends), slots)
        return last_of(*self.states(batch.tokens, embeddings))
