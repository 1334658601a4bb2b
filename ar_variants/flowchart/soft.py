"""A soft tree on a sentence embedding, trained until its decisions are hard."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from common.evaluation.floors import Lesson
from common.metrics.fve import normalize
from common.models.reconstructor import Step
from common.seeding import keyed_seed

STEPS, RATE, DECAY = 400, 0.03, 1e-3
SOFT, HARD = 1.0, 30.0
"""Slope of a decision in the first and in the last step, in units of the embeddings' spread."""


class SoftTree(FittedReconstructor):
    """A full binary tree; each inner node asks on which side of a plane the embedding lies.

    In training a text takes both ways, in shares that sharpen from step to step; afterwards it
    takes one. The vectors of the leaves are then fitted once more to the hard decisions.
    """

    def __init__(
        self,
        frame: Frame,
        embed: Any,
        depth: int,
        shrinkage: float,
    ) -> None:
        """`depth` >= 1 questions are asked; `shrinkage` counts texts of a leaf."""
        super().__init__(frame)
        self.embed, self.depth, self.shrinkage = embed, depth, shrinkage
        self.planes = torch.zeros(2**depth - 1, 1)
        """[inner nodes, width + 1]: normal and offset; node i has the children 2i+1 and 2i+2."""

    def fit(self, lesson: Lesson) -> None:
        """Gradient descent on planes and leaves together, in full batches."""
        texts = [self.cut(text) for text in lesson.texts]
        x = torch.from_numpy(self.embed(texts)).float()
        mean, spread = x.mean(0), x.std(0).clamp(min=1e-6)
        x = (x - mean) / spread
        targets = normalize(lesson.activations).float()
        self.start.data = targets.mean(0)
        centred = targets - self.start
        generator = torch.Generator().manual_seed(keyed_seed("soft tree") % 2**31)
        size = x.shape[1]
        normals = nn.Parameter(torch.randn(len(self.planes), size, generator=generator) / size**0.5)
        offsets = nn.Parameter(torch.zeros(len(self.planes)))
        leaves = nn.Parameter(
            0.1 * centred.std() * torch.randn(2**self.depth, centred.shape[1], generator=generator)
        )
        optimizer = torch.optim.AdamW([normals, offsets, leaves], lr=RATE, weight_decay=DECAY)
        for step in range(STEPS):
            slope = SOFT * (HARD / SOFT) ** (step / (STEPS - 1))
            shares = self._shares(torch.sigmoid(slope * (x @ normals.T + offsets)))
            loss = (shares @ leaves - centred).square().mean() / centred.square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            normals = normals / spread
            self.planes = torch.cat([normals, (offsets - normals @ mean)[:, None]], 1)
            self.fit_leaves(self.features(texts), centred, self.shrinkage)

    def features(self, texts: Sequence[str]) -> Float[Tensor, "rows leaves"]:
        """1 for the leaf that a text comes to."""
        return self._shares((self._sides(texts) > 0).float())

    def steps(self, text: str) -> list[Step]:
        """One for each question on the way; the last one adds the leaf's vector."""
        sides, place, found = self._sides([self.cut(text)])[0], 0, []
        for level in range(self.depth):
            answer = bool(sides[place] > 0)
            title = f"Is it on the positive side of plane {place + 1}?"
            place = 2 * place + (1 if answer else 2)
            is_last = level == self.depth - 1
            leaf = place - len(self.planes)
            vector = self.weight[leaf] if is_last else torch.zeros_like(self.start)
            found.append(Step(title, "yes" if answer else "no", vector))
        return found

    @property
    def size(self) -> int:
        """Questions and leaves."""
        return 2 * len(self.planes) + 1

    def outline(self) -> dict[str, Any]:
        """What another fit depends on."""
        return {"shrinkage": self.shrinkage}

    def tensors(self) -> dict[str, Tensor]:
        """Also the planes."""
        return super().tensors() | {"planes": self.planes}

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Planes and leaves."""
        super().restore(outline, tensors)
        self.planes, self.shrinkage = tensors["planes"], outline["shrinkage"]
        self.depth = (len(self.planes) + 1).bit_length() - 1

    def _sides(self, texts: Sequence[str]) -> Float[Tensor, "rows nodes"]:
        x = torch.from_numpy(self.embed(list(texts))).float()
        return x @ self.planes[:, :-1].T + self.planes[:, -1]

    def _shares(self, yes: Float[Tensor, "rows nodes"]) -> Float[Tensor, "rows leaves"]:
        """Of each leaf: the product of the answers on its way."""
        shares = yes.new_ones(len(yes), 1)
        for level in range(self.depth):
            here = yes[:, 2**level - 1 : 2 ** (level + 1) - 1]
            shares = torch.stack([shares * here, shares * (1 - here)], 2).flatten(1)
        return shares
