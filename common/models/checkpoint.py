"""Trainable weights on disk, with what they depend on in the header."""

from pathlib import Path

import torch

from common.errors import NlaError


def save_trainable(
    model: torch.nn.Module,
    path: Path,
    metadata: dict[str, str],
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """The trainable weights alone as safetensors, with what they depend on as metadata."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    save_file(
        {name: p.detach().cpu().to(dtype).contiguous() for name, p in trainable.items()},
        path,
        metadata,
    )


def load_trainable(model: torch.nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Read what `save_trainable` wrote; NlaError when file, metadata or shapes do not match."""
    from safetensors import SafetensorError, safe_open

    remedy = "delete the run's folder and run its DVC stage again"
    if not path.exists():
        raise NlaError("no checkpoint", where=path, remedy=remedy)
    try:
        with safe_open(path, "pt") as file:
            found = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise NlaError(f"damaged checkpoint ({error})", where=path, remedy=remedy) from error
    for name, value in metadata.items():
        if found.get(name) != value:
            raise NlaError(
                f"checkpoint mismatch: {name} is {found.get(name)!r}, expected {value!r}",
                where=path,
                remedy=remedy,
            )
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if own.keys() != weights.keys() or any(own[name].shape != weights[name].shape for name in own):
        raise NlaError("checkpoint of another architecture", where=path, remedy=remedy)
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(weights[name])
