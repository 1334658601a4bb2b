"""What training changed in a model, as small matrices: up @ down for each weight of a block."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import NlaError
from common.release.sensitivity import Sensitivity, root

UP, DOWN, WHOLE = ".up", ".down", ".whole"
BLOCK = ".layers."
FROZEN = ("embed_tokens", "lm_head")
"""Never trained; they may differ in precision only, which need not be kept."""
BYTES = 2
"""Bytes of a number in bfloat16."""
MOST_UNEVEN = 6
"""Largest rank of one matrix, as a multiple of the rank at which all matrices would be equal."""


class Deltas(NamedTuple):
    """Differences of weights, as low-rank factors."""

    tensors: dict[str, Tensor]
    """`<name>.up` and `<name>.down` of matrices in blocks, `<name>.whole` of small weights."""
    rank: float
    """Mean rank of the matrices."""
    kept: float
    """Share of the effect on the loss of all differences of matrices, measured by `Sensitivity`."""


class _Factors(NamedTuple):
    """The weighted difference of one matrix, largest part first."""

    up: Float[Tensor, "d_out most"]
    down: Float[Tensor, "most d_in"]
    worth: Float[Tensor, " most"]
    """How much each column of `up` with its row of `down` keeps."""
    total: float
    """How much the whole difference would keep."""

    @property
    def numbers(self) -> int:
        """Numbers in one column of `up` and a row of `down`."""
        return len(self.up) + self.down.shape[1]


def factor(
    trained: nn.Module,
    start: nn.Module,
    most_bytes: int,
    weighing: Mapping[str, Sensitivity] | None = None,
) -> Deltas:
    """The differences of two models of one architecture: what matters most, as far as it fits.

    Args:
        trained: its weights are not changed.
        start: the model to which `apply` will add the differences.
        most_bytes: size of all tensors together, in bfloat16.
        weighing: sensitivities of `trained`; without them all numbers of all matrices count alike.
    """
    before = dict(start.named_parameters())
    changes = {
        name: (weight - before[name]).detach().float()
        for name, weight in trained.named_parameters()
        if not any(part in name for part in FROZEN) and not torch.equal(weight, before[name])
    }
    matrices = [name for name, change in changes.items() if BLOCK in name and change.ndim == 2]
    tensors = {n + WHOLE: c.bfloat16() for n, c in changes.items() if n not in matrices}
    if not matrices:
        return Deltas(tensors, 0, 1.0)
    room = most_bytes // BYTES - sum(tensor.numel() for tensor in tensors.values())
    even = _even_rank([changes[name] for name in matrices], room)
    found = {
        name: _factors(changes[name], even * MOST_UNEVEN, (weighing or {}).get(name))
        for name in matrices
    }
    ranks = _ranks(list(found.values()), room)
    for (name, part), rank in zip(found.items(), ranks, strict=True):
        if rank:
            tensors[name + UP] = part.up[:, :rank].bfloat16().contiguous()
            tensors[name + DOWN] = part.down[:rank].bfloat16().contiguous()
    kept = sum(float(f.worth[:rank].sum()) for f, rank in zip(found.values(), ranks, strict=True))
    total = sum(part.total for part in found.values())
    return Deltas(tensors, sum(ranks) / len(ranks), min(1.0, kept / total) if total else 1.0)


@torch.no_grad()
def apply(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Add the differences; KeyError or RuntimeError when they are of another architecture."""
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.endswith(WHOLE):
            parameters[name.removesuffix(WHOLE)].add_(tensor.float())
        elif name.endswith(UP):
            matrix = name.removesuffix(UP)
            parameters[matrix].add_(tensor.float() @ tensors[matrix + DOWN].float())


def _even_rank(changes: list[Tensor], numbers: int) -> int:
    """The common rank at which factors of all matrices have so many numbers; NlaError below 1."""
    of_one = sum(sum(change.shape) for change in changes)
    if numbers < of_one:
        what = f"rank 1 alone takes {of_one * BYTES:,} bytes of {max(0, numbers) * BYTES:,}"
        raise NlaError(what, where="release", remedy="the model is too large to be released here")
    return numbers // of_one


def _ranks(found: list[_Factors], numbers: int) -> list[int]:
    """The rank kept of each matrix: parts are taken in order of what they keep per number."""
    owner = torch.cat([torch.full((len(f.worth),), place) for place, f in enumerate(found)])
    cost = torch.cat([torch.full((len(f.worth),), f.numbers) for f in found])
    order = (torch.cat([part.worth for part in found]) / cost).argsort(descending=True)
    fits = cost[order].cumsum(0) <= numbers
    return torch.bincount(owner[order[fits]], minlength=len(found)).tolist()


def _factors(change: Tensor, most: int, weighing: Sensitivity | None) -> _Factors:
    """The best factors up to a rank, with the singular values shared between them."""
    left_root, right_root = (
        (root(weighing.gradients), root(weighing.inputs))
        if weighing
        else (torch.eye(size) for size in change.shape)
    )
    weighed = left_root.T @ change @ right_root
    left, values, right = torch.linalg.svd(weighed, full_matrices=False)
    shared = values[:most].sqrt()
    up, down = left[:, :most] * shared, shared[:, None] * right[:most]
    return _Factors(
        torch.linalg.solve_triangular(left_root.T, up, upper=True),
        torch.linalg.solve_triangular(right_root, down, upper=False, left=False),
        values[:most].square(),
        float(weighed.square().sum()),
    )
