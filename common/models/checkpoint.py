"""Trainable weights on disk, with metadata of what they depend on in the header."""

from pathlib import Path

import torch
from torch import Tensor

from common.errors import NlaError
from common.manifest import digest_of
from decomposition.protocol import Decomposition


def save_trainable(
    model: torch.nn.Module,
    path: Path,
    metadata: dict[str, str],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the trainable weights as safetensors, with what they depend on as metadata.

    Fitted buffers of decompositions are written too, in their own precision.
    """
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: p.detach().to(dtype) for name, p in _trainable(model).items()}
    tensors |= _fitted(model)
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, path, metadata)


def load_trainable(model: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Read what `save_trainable` wrote; NlaError when file, metadata or shapes do not match."""
    from safetensors import SafetensorError, safe_open

    remedy = "delete the run's folder and run its DVC stage again"
    if not path.exists():
        raise NlaError("no checkpoint", where=path, remedy=remedy)
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise NlaError(f"damaged checkpoint ({error})", where=path, remedy=remedy) from error
    for name, value in metadata.items():
        if found.get(name) != value:
            raise NlaError(
                f"checkpoint mismatch: {name} is {found.get(name)!r}, expected {value!r}",
                where=path,
                remedy=remedy,
            )
    own = _trainable(model) | _fitted(model)
    if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
        raise NlaError("checkpoint of another architecture", where=path, remedy=remedy)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def scheme_of(decomposition: Decomposition) -> dict[str, str]:
    """Metadata of an AV's checkpoint: how activations were divided among its slots."""
    return {
        "decomposition": type(decomposition).__name__,
        "slots": str(decomposition.slots),
        "decomposition_settings": digest_of(decomposition.settings),
    }


def _trainable(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _fitted(model: torch.nn.Module) -> dict[str, Tensor]:
    """Persistent buffers of every decomposition in a model."""
    return {
        f"{place}.{name}" if place else name: tensor
        for place, module in model.named_modules()
        if isinstance(module, Decomposition)
        for name, tensor in module.state_dict().items()
        if name not in dict(module.named_parameters())
    }
