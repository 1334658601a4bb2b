"""FSDP2: each process holds a part of a model's blocks; everything else is whole everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def shard(model: nn.Module, mesh: Any) -> None:
    """Shard every decoder in `model` over the processes of a mesh, block by block, once.

    Embeddings stay whole in each process: AVs and ARs look tokens up before they call the decoder.
    """
    from torch.distributed.fsdp import fully_shard

    decoders: list[Any] = [module for module in model.modules() if _is_decoder(module)]
    for decoder in decoders:
        if is_sharded(decoder):
            continue
        embeddings = set(decoder.get_input_embeddings().parameters())
        for block in decoder.layers:
            fully_shard(block, mesh=mesh)
        fully_shard(decoder, mesh=mesh, ignored_params=embeddings)


def is_sharded(module: nn.Module) -> bool:
    """Whether this decoder or block itself is sharded.

    `fully_shard` gives a module the methods of FSDPModule, whose import takes a second.
    """
    return hasattr(module, "set_reshard_after_forward")


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Within this context each process holds all weights and calls the model as often as it likes.

    Sampling stops after a different number of tokens in each process; with sharded weights the
    processes would then wait for one another for ever.
    """
    parts: list[Any] = [module for module in model.modules() if is_sharded(module)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def average_whole_gradients(parameters: list[nn.Parameter]) -> None:
    """Mean over processes of the gradients of whole weights, which FSDP2 does not handle."""
    for parameter in parameters:
        if parameter.grad is not None and not _is_distributed(parameter):
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= torch.distributed.get_world_size()


def total_norm(gradients: list[Tensor]) -> Float[Tensor, ""]:
    """Norm of gradients, some of which are sharded."""
    norms = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    return torch.stack([n.full_tensor() if _is_distributed(n) else n for n in norms]).norm()


def _is_decoder(module: nn.Module) -> bool:
    return isinstance(getattr(module, "layers", None), nn.ModuleList)


def _is_distributed(tensor: Any) -> bool:
    """Whether it is a DTensor."""
    return hasattr(tensor, "full_tensor")
