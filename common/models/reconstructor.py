"""AR: explanation in, activation out. The interface of every variant, and the published AR."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from common.metrics.fve import normalize, normalized_mse
from common.models.sizes import model_sizes
from common.models.templates import ARTemplate
from common.models.tree import common_length, read_tree
from common.schema import Reading, TokenBatch
from common.target.parts import final_norm
from common.target.text import encode

OPERATIONS = 6.0
"""Of one use of a trainable parameter, see `Reconstructor.operations`."""


class Step(NamedTuple):
    """A step of an AR that can be followed: what is looked at, what is found, what it adds."""

    title: str
    answer: str
    vector: Float[Tensor, " d_model"]


class Reconstructor(nn.Module):
    """Every AR: `encode` readings as tokens, `forward` tokens to vectors, `loss_terms` to train.

    Subclasses override `forward` and, where they need it, `encode` and `loss_terms`. What `encode`
    returns and `forward` takes may be any NamedTuple of tensors with a `to(device)`. Only the
    direction of the output counts: loss and metrics normalise it.
    """

    prepared_on = 64
    """How many readings `prepare` needs."""
    noisy_in_training = False
    """Whether `forward` differs in training mode (dropout), which a reward must not use."""

    def __init__(self, tokenizer: Any, max_explanation_tokens: int) -> None:
        """The tokenizer is the target's; longer explanations are cut."""
        super().__init__()
        self.tokenizer, self.max_explanation_tokens = tokenizer, max_explanation_tokens
        self.template = ARTemplate.of(tokenizer)

    def encode(self, readings: Sequence[Reading]) -> Any:
        """Template + explanation, right-padded; the template's end always survives the cut.

        Returns a TokenBatch: this AR does not look at sources.
        """
        written = encode(self.tokenizer, [reading.text for reading in readings])
        before, after = self.template.before, self.template.after
        rows = [
            torch.tensor([*before, *ids[: self.max_explanation_tokens], *after]) for ids in written
        ]
        lengths = torch.tensor([len(row) for row in rows])
        ids = pad_sequence(rows, batch_first=True, padding_value=0)
        return TokenBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])

    def steps(self, text: str) -> list[Step]:
        """The steps by which it reads an explanation; empty where nobody could follow them."""
        return []

    def tokens_in(self, readings: Sequence[Reading]) -> int:
        """How many tokens it reads in all, which is the cost of a training run."""
        return int(self.encode(readings).mask.sum())

    def forward(self, tokens: Any) -> Float[Tensor, "batch d_model"]:
        """The reconstructions, up to their scale, of a batch that `encode` made."""
        raise NotImplementedError

    def loss_terms(
        self,
        predictions: Float[Tensor, "batch d_model"],
        activations: Float[Tensor, "batch d_model"],
    ) -> dict[str, Tensor]:
        """Named terms whose sum is minimised; always has `mse` = 2(1 - cos)."""
        return {"mse": normalized_mse(predictions, activations)}

    def operations(self, readings: Sequence[Reading]) -> float:
        """Floating-point operations of one training pass over some readings.

        A use of a trainable parameter takes 2 operations forward, 4 backward.
        Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
        """
        return OPERATIONS * model_sizes(self)["trainable_parameters"] * self.uses(readings)

    def uses(self, readings: Sequence[Reading]) -> int:
        """How often each trainable parameter is used in reading: once for each token."""
        return self.tokens_in(readings)

    @property
    def last_bias(self) -> nn.Parameter | None:
        """The bias that is added to every output at the very end, if there is one."""
        return None

    @torch.no_grad()
    def prepare(
        self,
        readings: Sequence[Reading],
        activations: Float[Tensor, "batch d_model"],
        documents: list[str],
    ) -> None:
        """Before training, make the mean output for some readings equal to their mean activation.

        Only the last bias is changed, at the scale of the outputs. Otherwise the first steps of a
        short training are spent on learning a constant vector. A subclass may do more, and
        `documents` tells it which readings belong to one document.
        """
        if (bias := self.last_bias) is None:
            return
        answers = self(self.encode(readings).to(bias.device))
        wanted = normalize(activations.to(bias).float()).mean(0)
        scale = answers.norm(dim=1).mean() / activations.shape[1] ** 0.5
        bias += scale * wanted - answers.mean(0)


class TruncatedReconstructor(Reconstructor):
    """The published AR: the target's first blocks without final norm, and a linear head.

    The head reads the last token's state and starts as the identity (its bias where `prepare` puts
    it). Embeddings stay frozen, so that arms of different depth train the same kind of parameters.
    """

    def __init__(
        self, model: Any, tokenizer: Any, blocks: int, max_explanation_tokens: int
    ) -> None:
        """Copies the first `blocks` blocks of a causal LM; the model itself is not changed."""
        super().__init__(tokenizer, max_explanation_tokens)
        self.decoder = truncated_decoder(model, blocks)
        width = self.decoder.config.hidden_size
        self.head = nn.Linear(width, width, bias=True)
        nn.init.eye_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def last_bias(self) -> nn.Parameter | None:
        """The bias of the head."""
        return self.head.bias

    def forward(self, tokens: TokenBatch) -> Float[Tensor, "batch d_model"]:
        """Output of the head for the last real token's state after the last block."""
        return self.head(self.last_state(tokens))

    def last_state(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """What the head reads: the residual stream of the last real token."""
        return last_of(*self.states(tokens))

    def embedded(self, tokens: TokenBatch) -> Float[Tensor, "batch time d_model"]:
        """What the first block reads of each token."""
        return self.decoder.get_input_embeddings()(tokens.ids)

    def states(
        self, tokens: TokenBatch, embeddings: Float[Tensor, "batch whole d_model"] | None = None
    ) -> tuple[Float[Tensor, "batch time d_model"], Bool[Tensor, "batch time"]]:
        """Residual streams of the tokens after those that all rows share; True at real tokens.

        `embeddings` stand in for those of the tokens; where tokens are equal they must be, too, but
        for each row's last one.
        """
        shared = common_length(tokens)
        embeddings = self.embedded(tokens) if embeddings is None else embeddings
        levels, mask = (embeddings[:1, :shared], embeddings[:, shared:]), tokens.mask[:, shared:]
        _, states = read_tree(self.decoder, levels, mask)
        return states.float(), mask


def last_of(
    states: Float[Tensor, "batch time d_model"], mask: Bool[Tensor, "batch time"]
) -> Float[Tensor, "batch d_model"]:
    """The state of each row's last real token."""
    last = mask.sum(1) - 1
    return states[torch.arange(len(last), device=last.device), last]


def truncated_decoder(model: Any, blocks: int) -> Any:
    """A trainable copy of the first blocks, no final norm, embeddings frozen."""
    source = model.get_decoder()
    kept = source.layers
    source.layers = kept[:blocks]
    try:
        decoder = copy.deepcopy(source)
    finally:
        source.layers = kept
    decoder.config.num_hidden_layers = blocks
    setattr(decoder, final_norm(decoder), nn.Identity())
    decoder.requires_grad_(True)
    decoder.get_input_embeddings().requires_grad_(False)
    return decoder
