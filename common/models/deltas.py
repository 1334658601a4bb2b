"""What training changed in a model, as small matrices: up @ down for each weight of a block."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from common.errors import NlaError

UP, DOWN, WHOLE = ".up", ".down", ".whole"
BLOCK = ".layers."
FROZEN = ("embed_tokens", "lm_head")
"""Never trained; holding them in bfloat16 for speed is no change worth keeping."""
BYTES = 2
"""Of a number: bfloat16."""
REFINEMENTS = 6
"""Power iterations of the randomised SVD; the weights' spectra fall slowly."""


class Deltas(NamedTuple):
    """Differences of weights, factored to one rank."""

    tensors: dict[str, Tensor]
    """`<name>.up` and `<name>.down` of matrices in blocks, `<name>.whole` of all that is small."""
    rank: int
    kept: float
    """Share of the squared norm of all differences that is left."""


def factor(trained: nn.Module, start: nn.Module, most_bytes: int) -> Deltas:
    """The differences of two models of one architecture, at the largest rank that fits.

    Args:
        trained: its weights are not changed.
        start: what `apply` will be given.
        most_bytes: of all tensors together, in bfloat16.
    """
    before = dict(start.named_parameters())
    changes = {
        name: (weight - before[name]).detach().float()
        for name, weight in trained.named_parameters()
        if not any(part in name for part in FROZEN) and not torch.equal(weight, before[name])
    }
    matrices = [name for name, change in changes.items() if BLOCK in name and change.ndim == 2]
    rest = sum(change.numel() for name, change in changes.items() if name not in matrices)
    rank = _rank(changes, matrices, most_bytes // BYTES - rest)
    tensors, lost, total = {}, 0.0, 0.0
    for name, change in changes.items():
        if name in matrices:
            up, down = _factors(change, rank)
            tensors |= {name + UP: up.bfloat16(), name + DOWN: down.bfloat16()}
            lost += float((change - up @ down).square().sum())
        else:
            tensors[name + WHOLE] = change.bfloat16()
        total += float(change.square().sum())
    return Deltas(tensors, rank, 1 - lost / total if total else 1.0)


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


def _rank(changes: Mapping[str, Tensor], matrices: list[str], numbers: int) -> int:
    """The largest rank at which all factors together have so many numbers; NlaError below 1."""
    if not matrices:
        return 0
    of_one = sum(sum(changes[name].shape) for name in matrices)
    largest = max(min(changes[name].shape) for name in matrices)
    if numbers < of_one:
        what = f"rank 1 alone takes {of_one * BYTES:,} bytes of {max(0, numbers) * BYTES:,}"
        raise NlaError(what, where="release", remedy="the model is too large to be released here")
    return min(numbers // of_one, largest)


def _factors(change: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best factors of a rank, with the singular values shared between them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(
            change, min(rank + 8, *change.shape), niter=REFINEMENTS
        )
    root = values[:rank].sqrt()
    return left[:, :rank] * root, (right[:, :rank] * root).T.contiguous()
