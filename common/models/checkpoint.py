"""Trainable weights on disk, with metadata of what they depend on in the header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from common.errors import NlaError
from common.manifest import digest_of
from decomposition.protocol import Decomposition

OUTLINE = "outline"
"""Metadata of a Restorable: what it is made of, as JSON."""
REMEDY = "delete the run's folder and run its DVC stage again"


@runtime_checkable
class Restorable(Protocol):
    """A model that is fitted, not trained, and whose shape is known only then."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything that it holds in numbers."""
        ...

    def outline(self) -> dict[str, Any]:
        """Everything else, for JSON."""
        ...

    def restore(self, outline: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Become what was kept."""
        ...


class FittedModule(torch.nn.Module):
    """A part of a model that is fitted, not trained: its persistent buffers are kept with weights.

    They have their final shape before they are fitted.
    """


def save_trainable(
    model: torch.nn.Module,
    path: Path,
    metadata: dict[str, str],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the trainable weights as safetensors, with what they depend on as metadata.

    Buffers of fitted parts, such as decompositions, are written too, in their own precision. A
    model that is Restorable is written as it says.
    """
    if isinstance(model, Restorable):
        save_tensors(model.tensors(), path, metadata | {OUTLINE: json.dumps(model.outline())})
        return
    tensors = {name: p.detach().to(dtype) for name, p in _trainable(model).items()}
    save_tensors(tensors | _fitted(model), path, metadata)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors as safetensors, with metadata."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.cpu().contiguous() for name, t in tensors.items()}, path, metadata)


def load_trainable(model: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Read what `save_trainable` wrote; NlaError when file, metadata or shapes do not match."""
    tensors, header = load_tensors(path, metadata)
    if isinstance(model, Restorable):
        model.restore(json.loads(header[OUTLINE]), tensors)
        return
    own = _trainable(model) | _fitted(model)
    if own.keys() != tensors.keys() or any(own[name].shape != tensors[name].shape for name in own):
        raise NlaError("checkpoint of another architecture", where=path, remedy=REMEDY)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def load_tensors(
    path: Path, metadata: Mapping[str, str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a file, and all its metadata; NlaError where it has not this metadata."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise NlaError("no checkpoint", where=path, remedy=REMEDY)
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise NlaError(f"damaged checkpoint ({error})", where=path, remedy=REMEDY) from error
    for name, value in metadata.items():
        if found.get(name) != value:
            raise NlaError(
                f"checkpoint mismatch: {name} is {found.get(name)!r}, expected {value!r}",
                where=path,
                remedy=REMEDY,
            )
    return tensors, found


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
    """Persistent buffers of every decomposition and every other fitted part of a model."""
    return {
        f"{place}.{name}" if place else name: tensor
        for place, module in model.named_modules()
        if isinstance(module, Decomposition | FittedModule)
        for name, tensor in module.state_dict().items()
        if name not in dict(module.named_parameters())
    }
