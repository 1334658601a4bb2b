"""Ridge regressions whose penalties are chosen by document."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import NlaError
from common.metrics.fve import normalize

FOLDS = 5
PENALTIES = tuple(10.0 ** (power / 4) for power in range(-12, 9))
"""In units of the mean variance of a block's features times the number of rows."""
STEPS = (-0.5, 0.5)
"""Powers of ten by which the penalty of one of several blocks is varied."""
LEAST = 1e-8
"""A penalty is varied no further down: sums of products lose their last digits, and what is left of
them without a penalty need not be positive definite."""
ROUNDING = 1e-7
"""A feature that varies by no more of its size is constant."""


class LinearMap(NamedTuple):
    """Features → a prediction of n(h)."""

    weight: Float[Tensor, "width d_model"]
    bias: Float[Tensor, " d_model"]
    penalties: tuple[float, ...]
    """One for each block of features, in the units of `PENALTIES`."""

    def __call__(self, features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows d_model"]:
        """Predictions in units of n(h), in float32."""
        return (features.double() @ self.weight + self.bias).float()


def ridge_by_document(
    blocks: Sequence[Float[Tensor, "rows _"]],
    activations: Float[Tensor, "rows d_model"],
    documents: Sequence[str],
    penalties: Sequence[float] = PENALTIES,
) -> LinearMap:
    """The linear map from features to n(h) with the penalties of least error on left-out documents.

    Each block of features has a penalty of its own: first the best common one, then each block's is
    varied, until nothing gains. Whole documents are left out, not rows: positions of one document
    share its title. The intercept is not penalised, so that features without variance give the mean
    of n(h), and there may be fewer rows than features.

    Raises:
        NlaError: for a single document, or features or activations that are not finite.
    """
    features, targets = torch.cat([*blocks], 1).double(), normalize(activations).double()
    if not (features.isfinite().all() and targets.isfinite().all()):
        raise NlaError("a ridge regression of features or activations that are not finite")
    mean, means = features.mean(0), targets.mean(0)
    scale = _scales(features - mean, features, [block.shape[1] for block in blocks])
    scaled, centred = (features - mean) * scale, targets - means
    folds = folds_of(documents)
    parts = [_Moments.of(scaled[folds == fold], centred[folds == fold]) for fold in folds.unique()]
    whole = _Moments.of(scaled, centred)
    found = _Search(whole, parts, [block.shape[1] for block in blocks]).best(penalties)
    weight, bias = whole.solved(found.expanded)
    weight = scale[:, None] * weight
    return LinearMap(weight, bias + means - mean @ weight, found.penalties)


def folds_of(documents: Sequence[str]) -> Int[Tensor, " rows"]:
    """The fold of each row, of at most `FOLDS`; NlaError for a single document.

    Large documents are dealt out first, each to the smallest fold.
    """
    names, place, counts = np.unique(documents, return_inverse=True, return_counts=True)
    if len(names) < 2:
        what = f"a penalty cannot be chosen by document: all {len(documents)} rows are of one"
        raise NlaError(what, remedy="bring more documents")
    sizes = np.zeros(min(FOLDS, len(names)), dtype=int)
    folds = np.zeros(len(names), dtype=int)
    for name in np.argsort(-counts, kind="stable"):
        folds[name] = sizes.argmin()
        sizes[folds[name]] += counts[name]
    return torch.from_numpy(folds[place])


def _scales(
    centred: Float[Tensor, "rows width"], features: Float[Tensor, "rows width"], widths: list[int]
) -> Float[Tensor, " width"]:
    """What gives each block a mean variance of 1; zero for features that do not vary."""
    varies = centred.abs().amax(0) > ROUNDING * features.abs().amax(0)
    variances = (centred * varies).square().mean(0).split(widths)
    scales = [part.mean().clamp(min=torch.finfo(part.dtype).tiny).rsqrt() for part in variances]
    return torch.cat([s.expand(w) for s, w in zip(scales, widths, strict=True)]) * varies


class _Penalties(NamedTuple):
    """One for each block, and how many features each has."""

    penalties: tuple[float, ...]
    widths: list[int]

    @property
    def expanded(self) -> Float[Tensor, " width"]:
        return torch.cat(
            [
                torch.full((width,), penalty, dtype=torch.float64)
                for penalty, width in zip(self.penalties, self.widths, strict=True)
            ]
        )

    def varied(self) -> list["_Penalties"]:
        return [
            _Penalties((*kept[:block], kept[block] * 10**step, *kept[block + 1 :]), self.widths)
            for kept in [self.penalties]
            for block in range(len(kept))
            for step in STEPS
            if kept[block] * 10**step >= LEAST
        ]


class _Moments(NamedTuple):
    """Sums over rows of features, targets and their products, from which any may be taken away."""

    rows: int
    features: Float[Tensor, " width"]
    targets: Float[Tensor, " d_model"]
    gram: Float[Tensor, "width width"]
    cross: Float[Tensor, "width d_model"]
    square: Float[Tensor, ""]

    @classmethod
    def of(cls, features: Tensor, targets: Tensor) -> "_Moments":
        sums, products = (features.sum(0), targets.sum(0)), (features.T @ features,)
        return cls(len(features), *sums, *products, features.T @ targets, targets.square().sum())

    def without(self, part: "_Moments") -> "_Moments":
        return _Moments(
            self.rows - part.rows,
            self.features - part.features,
            self.targets - part.targets,
            self.gram - part.gram,
            self.cross - part.cross,
            self.square - part.square,
        )

    @property
    def around_mean(self) -> tuple[Tensor, Tensor]:
        """Gram matrix and products, of features and targets minus their means."""
        gram = self.gram - torch.outer(self.features, self.features) / self.rows
        return gram, self.cross - torch.outer(self.features, self.targets) / self.rows

    def around(self, other: "_Moments") -> "_Moments":
        """As if the means of other rows had been taken away before."""
        f, t = other.features / other.rows, other.targets / other.rows
        gram = self.gram - torch.outer(self.features, f) - torch.outer(f, self.features)
        cross = self.cross - torch.outer(self.features, t) - torch.outer(f, self.targets)
        return self._replace(
            features=self.features - self.rows * f,
            targets=self.targets - self.rows * t,
            gram=gram + self.rows * torch.outer(f, f),
            cross=cross + self.rows * torch.outer(f, t),
            square=self.square - 2 * self.targets @ t + self.rows * t @ t,
        )

    def solved(self, penalties: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and intercept of least squared error plus penalty."""
        gram, cross = self.around_mean
        factor = torch.linalg.cholesky(gram + torch.diag(self.rows * penalties))
        weight = torch.cholesky_solve(cross, factor)
        return weight, (self.targets - self.features @ weight) / self.rows


class _Search:
    """Which penalties give the least error on left-out documents."""

    def __init__(self, whole: _Moments, parts: list[_Moments], widths: list[int]) -> None:
        """`parts` are the folds of `whole`."""
        self.rests = [whole.without(part) for part in parts]
        self.parts = [part.around(rest) for part, rest in zip(parts, self.rests, strict=True)]
        self.widths = widths
        self.known: dict[tuple[float, ...], float] = {}

    def best(self, penalties: Sequence[float]) -> _Penalties:
        errors = self.errors_of_common(penalties)
        common = penalties[int(errors.argmin())]
        best, least = _Penalties((common,) * len(self.widths), self.widths), float(errors.min())
        while len(self.widths) > 1:
            nearest = min(best.varied(), key=self.error)
            if self.error(nearest) >= least:
                break
            best, least = nearest, self.error(nearest)
        return best

    def errors_of_common(self, penalties: Sequence[float]) -> Float[Tensor, " penalties"]:
        """With one eigendecomposition for all penalties."""
        found = torch.zeros(len(penalties), dtype=torch.float64)
        for part, rest in zip(self.parts, self.rests, strict=True):
            gram, cross = rest.around_mean
            values, vectors = torch.linalg.eigh(gram)
            turned = vectors.T @ cross
            products = (turned * (vectors.T @ part.cross)).sum(1)
            squares = (turned @ turned.T) * (vectors.T @ part.gram @ vectors)
            for place, penalty in enumerate(penalties):
                inverse = 1 / (values.clamp(min=0) + rest.rows * penalty)
                explained = 2 * inverse @ products - inverse @ squares @ inverse
                found[place] += part.square - explained
        return found

    def error(self, penalties: _Penalties) -> float:
        name = tuple(round(float(np.log10(penalty)), 6) for penalty in penalties.penalties)
        if name not in self.known:
            self.known[name] = sum(
                self._error_of(part, rest.solved(penalties.expanded)[0])
                for part, rest in zip(self.parts, self.rests, strict=True)
            )
        return self.known[name]

    @staticmethod
    def _error_of(part: _Moments, weight: Tensor) -> float:
        return float(part.square - (weight * (2 * part.cross - part.gram @ weight)).sum())
