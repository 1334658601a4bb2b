"""ARs with less capacity: fewer blocks, a narrow head, or no blocks at all; and their arm."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from common.arms.reconstructor import ReconstructorArm
from common.config_base import Config
from common.errors import NlaError
from common.evaluation.ridge import ridge_by_document
from common.metrics.fve import normalize
from common.models.reconstructor import Reconstructor, TruncatedReconstructor, last_of
from common.rollout.reading import read_in_batches
from common.schema import Reading, TokenBatch
from common.trunk.artefacts import Trunk

READ_TOGETHER = 16
POOLS = 8
QUERY_SCALE = 0.02
DROPOUT = 0.3
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Ridge penalties of a probe, in units of its features' mean variance times their number."""


class ProbedReconstructor(Reconstructor):
    """An AR whose head starts at the linear probe of its own untrained states."""

    prepared_on = 4096
    head: nn.Linear

    def last_state(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The state that the head reads."""
        raise NotImplementedError

    def prepare(
        self,
        readings: Sequence[Reading],
        activations: Float[Tensor, "batch d_model"],
        documents: list[str],
    ) -> None:
        """Fit the head to the untrained states; its outputs get the scale of an identity head's."""
        states = read_in_batches(self, self.last_state, readings, READ_TOGETHER)
        self.start_head(states, activations, documents)

    def start_head(
        self,
        states: Float[Tensor, "batch width"],
        activations: Float[Tensor, "batch d_model"],
        documents: list[str],
    ) -> None:
        """Set the head to the probe of some states."""
        start_at_probe(self.head, states, activations, documents)


class ShallowReconstructor(TruncatedReconstructor, ProbedReconstructor):
    """Fewer blocks than there are up to the activation; its head reads all positions.

    A few blocks do not bring a text together at its last token, so that the head also gets what
    `POOLS` learned queries attend to in the states of the whole explanation. It starts at a probe:
    the state after block 4 has another representation than the activation of block 15, and the
    identity, the right start for a full copy, would have a short training mostly learn this change.
    Dropout before the head, because it passes over its few texts often.
    """

    noisy_in_training = True

    def __init__(
        self, model: Any, tokenizer: Any, blocks: int, max_explanation_tokens: int
    ) -> None:
        """See `TruncatedReconstructor`; the queries start at random, near a mean over positions."""
        super().__init__(model, tokenizer, blocks, max_explanation_tokens)
        width = self.decoder.config.hidden_size
        self.queries = nn.Parameter(QUERY_SCALE * torch.randn(POOLS, width))
        self.head = nn.Linear((1 + POOLS) * width, width)

    @torch.no_grad()
    def start_head(
        self,
        states: Float[Tensor, "batch width"],
        activations: Float[Tensor, "batch d_model"],
        documents: list[str],
    ) -> None:
        """The probe of the last state and of the mean of the pools, which begin nearly alike."""
        last, *pools = states.chunk(1 + POOLS, dim=1)
        features = torch.cat([last, torch.stack(pools).mean(0)], 1)
        probe = nn.Linear(features.shape[1], self.head.out_features)
        start_at_probe(probe, features, activations, documents)
        of_last, of_pools = probe.weight.chunk(2, dim=1)
        self.head.weight.copy_(torch.cat([of_last, *[of_pools / POOLS] * POOLS], 1))
        self.head.bias.copy_(probe.bias)

    def forward(self, tokens: TokenBatch) -> Float[Tensor, "batch d_model"]:
        """Output of the head for the states."""
        return self.head(nn.functional.dropout(self.last_state(tokens), DROPOUT, self.training))

    def last_state(self, tokens: TokenBatch) -> Float[Tensor, "batch width"]:
        """The last token's state and, for each query, the mean of the states it attends to.

        Only tokens of the explanation and of the template's end are attended to.
        """
        states, mask = self.states(tokens)
        keys = nn.functional.rms_norm(states, states.shape[-1:])
        scores = (keys @ self.queries.T).masked_fill(~mask[..., None], -torch.inf)
        pools = torch.einsum("btp,btd->bpd", scores.softmax(1), states)
        return torch.cat([last_of(states, mask), pools.flatten(1)], 1)


class LowRankReconstructor(TruncatedReconstructor):
    """All blocks, but the head's output varies only in `rank` directions around the mean.

    The head starts at the principal directions of n(h), the best subspace of that rank; a narrow
    head cannot start as the identity.
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
        """`activations` are the training activations; NlaError when they are too few for `rank`."""
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
        """The bias of the second matrix of the head."""
        return self.head.get_parameter("1.bias")


class BagOfWordsReconstructor(ProbedReconstructor):
    """The target's frozen embeddings, averaged without order, and two linear layers.

    This AR cannot tell `rights of women` from `women of rights`: its score needs only the words,
    not their order.
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

    def uses(self, readings: Sequence[Reading]) -> int:
        """Its parameters are used once for each text."""
        return len(readings)

    def forward(self, tokens: TokenBatch) -> Float[Tensor, "batch d_model"]:
        """Output of the head for the mixed embeddings."""
        return self.head(self.last_state(tokens)).float()

    def last_state(self, tokens: TokenBatch) -> Float[Tensor, "batch hidden"]:
        """Mean embedding of the explanation's tokens (the template's cancel in the norm), mixed."""
        mask = tokens.mask[..., None].float()
        mean = (self.embed(tokens.ids) * mask).sum(1) / mask.sum(1)
        return self.mix(mean)


@torch.no_grad()
def start_at_probe(
    head: nn.Linear,
    features: Float[Tensor, "batch width"],
    activations: Float[Tensor, "batch d_model"],
    documents: list[str],
) -> None:
    """Set a head to the ridge regression from features to n(h).

    The penalty is the best of `PENALTIES` when whole documents are left out. Outputs get the mean
    length of the features, as an identity head's would have.
    """
    found = ridge_by_document([features], activations.cpu(), documents, PENALTIES)
    scale = float(features.norm(dim=1).mean()) / activations.shape[1] ** 0.5
    head.weight.copy_(scale * found.weight.T)
    head.bias.copy_(scale * found.bias)


class SizeConfig(Config):
    """The size of one AR: its depth, or the width of a narrow part."""

    blocks: int | None = Field(default=None, ge=1)
    """Number of the target's blocks to keep; None: all up to the layer that is read."""
    rank: int | None = Field(default=None, ge=1)
    """Width of a low-rank head."""
    hidden: int | None = Field(default=None, ge=1)
    """Set for the bag of words: width of its hidden layer."""

    @model_validator(mode="after")
    def _one_kind(self) -> "SizeConfig":
        if self.hidden and (self.blocks or self.rank):
            raise ValueError("a bag of words has neither blocks nor rank")
        return self


class SizeArm(ReconstructorArm):
    """Trains an AR of some size."""

    settings_class = SizeConfig
    settings: SizeConfig

    def build(self, trunk: Trunk) -> Reconstructor:
        """A new AR; NlaError for more blocks than there are up to the layer that is read."""
        arm, model, tokenizer = self.settings, trunk.target.model, trunk.target.tokenizer
        limit, whole = self.profile.ar.max_explanation_tokens, trunk.layer + 1
        if arm.hidden:
            return BagOfWordsReconstructor(model, tokenizer, limit, arm.hidden, trunk.mean)
        blocks = arm.blocks or whole
        if blocks > whole:
            what = f"an arm keeps {blocks} blocks, but there are {whole} up to layer {trunk.layer}"
            where = f"experiments/{self.plan.experiment}/params.yaml"
            raise NlaError(what, where=where, remedy=f"set `blocks` to at most {whole}")
        if arm.rank:
            activations = trunk.training_activations
            return LowRankReconstructor(model, tokenizer, blocks, limit, arm.rank, activations)
        kind = TruncatedReconstructor if blocks == whole else ShallowReconstructor
        return kind(model, tokenizer, blocks, limit)
