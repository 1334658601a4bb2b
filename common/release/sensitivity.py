"""How much a model's loss depends on each direction of a weight, to choose what to keep.

The curvature of the loss in a weight [out, in] is approximated by a product of two small matrices,
as in K-FAC (Martens and Grosse, arXiv:1503.05671): second moments of the layer's input, and of the
gradient at its output.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

DAMPING = 1e-3
"""Share of the mean eigenvalue added to all, so that directions not seen still count."""


class Sensitivity(NamedTuple):
    """Second moments of one linear layer, summed over tokens."""

    inputs: Float[Tensor, "d_in d_in"]
    gradients: Float[Tensor, "d_out d_out"]


def sensitivities(model: nn.Module, losses: Iterable[Tensor]) -> dict[str, Sensitivity]:
    """Sensitivities by the name of the weight, for every linear layer that the losses depend on.

    Args:
        model: all losses must depend on its vectors (norms, biases); it is left unchanged.
        losses: scalars of the model; each is computed only when the one before has been used.
    """
    inputs: dict[str, Any] = defaultdict(float)
    gradients: dict[str, Any] = defaultdict(float)
    with _vectors_alone_learn(model) as vectors, _watched(model, inputs, gradients):
        for loss in losses:
            torch.autograd.grad(loss, vectors, allow_unused=True)
    return {name: Sensitivity(inputs[name], total) for name, total in gradients.items()}


def root(moments: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """The Cholesky factor L of damped second moments M: L @ L.T is M."""
    damping = DAMPING * moments.diagonal().mean().clamp(min=1e-30)
    damped = moments + damping.expand(len(moments)).diag()
    return torch.linalg.cholesky(damped.double()).float()  # in float32 large ones may fail


@contextmanager
def _vectors_alone_learn(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Only vectors need gradients: these pass through every block, and almost none are stored."""
    parameters = list(model.parameters())
    learning = [parameter.requires_grad for parameter in parameters]
    for parameter in parameters:
        parameter.requires_grad_(parameter.ndim == 1)
    try:
        yield [parameter for parameter in parameters if parameter.requires_grad]
    finally:
        for parameter, learns in zip(parameters, learning, strict=True):
            parameter.requires_grad_(learns)


@contextmanager
def _watched(model: nn.Module, inputs: dict[str, Any], gradients: dict[str, Any]) -> Iterator[None]:
    """Within this context the second moments of every linear layer are added up."""

    def hook(name: str, _module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        if output.requires_grad:
            inputs[name] += _moments(given[0].detach())
            output.register_hook(partial(add_gradient, name))

    def add_gradient(name: str, gradient: Tensor) -> None:
        gradients[name] += _moments(gradient)

    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    handles = [
        layer.register_forward_hook(partial(hook, f"{name}.weight")) for name, layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _moments(rows: Tensor) -> Tensor:
    flat = rows.flatten(0, -2).float()
    return flat.T @ flat
