"""ARs that are fitted to explanations in closed form, not trained by gradients."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.evaluation.floors import Lesson
from common.evaluation.ridge import ridge_by_document
from common.models.reconstructor import Reconstructor
from common.schema import Reading


class Features(NamedTuple):
    """What a fitted AR makes of a batch of readings."""

    values: Float[Tensor, "batch width"]

    def to(self, device: torch.device) -> "Features":
        """The same on another device."""
        return Features(self.values.to(device))


class Frame(NamedTuple):
    """What every AR needs to read and to answer."""

    tokenizer: Any
    """The target's."""
    max_explanation_tokens: int
    d_model: int


class FittedReconstructor(Reconstructor):
    """`start` plus features of the explanation times `weight`.

    Subclasses say what the features are and how they are fitted; what they hold beside tensors is
    plain data, `outline`.
    """

    def __init__(self, frame: Frame) -> None:
        """It answers zeros before it is fitted or restored."""
        super().__init__(frame.tokenizer, frame.max_explanation_tokens)
        self.start = nn.Parameter(torch.zeros(frame.d_model), requires_grad=False)
        self.weight = nn.Parameter(torch.zeros(0, frame.d_model), requires_grad=False)

    def fit(self, lesson: Lesson) -> None:
        """Fit to explanations of training activations."""
        raise NotImplementedError

    def features(self, texts: Sequence[str]) -> Float[Tensor, "rows width"]:
        """What is found in some explanations, one row of `weight` for each."""
        raise NotImplementedError

    def fit_map(self, blocks: Sequence[Float[Tensor, "rows _"]], lesson: Lesson) -> None:
        """Start and weight by a ridge on blocks of features, penalties chosen by document."""
        found = ridge_by_document(blocks, lesson.activations, lesson.documents)
        self.weight.data, self.start.data = found.weight.float(), found.bias.float()

    def fit_leaves(
        self,
        leaves: Float[Tensor, "rows leaves"],
        centred: Float[Tensor, "rows d_model"],
        shrinkage: float,
    ) -> None:
        """Weight by least squares; `shrinkage` counts texts that draw a leaf's vector to zero."""
        gram = leaves.T @ leaves + shrinkage * torch.eye(leaves.shape[1])
        self.weight.data = torch.linalg.solve(gram, leaves.T @ centred)

    @property
    def size(self) -> int:
        """How many boxes a picture of it has."""
        raise NotImplementedError

    def outline(self) -> dict[str, Any]:
        """Everything beside `tensors` that it needs to be restored, for JSON."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it holds in numbers."""
        return {"start": self.start.data, "weight": self.weight.data}

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """What `fit` made, from `outline` and `tensors`."""
        self.start.data, self.weight.data = tensors["start"], tensors["weight"]

    def encode(self, readings: Sequence[Reading]) -> Features:
        """Features of the explanations, each as far as an AR reads."""
        return Features(self.features([self.cut(one.text) for one in readings]))

    def forward(self, tokens: Features) -> Float[Tensor, "batch d_model"]:
        """The reconstructions, in units of n(h)."""
        with torch.autocast(tokens.values.device.type, enabled=False):
            return self.start + tokens.values.float() @ self.weight

    def tokens_in(self, readings: Sequence[Reading]) -> int:
        """Tokens of the explanations, as far as an AR reads."""
        if not readings:
            return 0
        texts = [self.cut(one.text) for one in readings]
        return sum(map(len, self.tokenizer(texts, add_special_tokens=False)["input_ids"]))

    def cut(self, text: str) -> str:
        """The text up to the last token that an AR reads."""
        most = self.max_explanation_tokens
        if len(text) <= most:
            return text
        found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ends = [end for _, end in found["offset_mapping"]]
        return text if len(ends) <= most else text[: ends[most - 1]]
