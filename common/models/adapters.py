"""Adapters of a linear layer, and several of them as one."""

from typing import Any

import torch
from torch import Tensor

Adapter = tuple[Tensor, Tensor, float]
"""B [out, rank], A [rank, in] and s; the adapter adds s B A to a weight W."""


def adapters_in(layer: Any) -> list[Adapter]:
    """The active adapters of a peft layer."""
    return [
        (layer.lora_B[name].weight, layer.lora_A[name].weight, layer.scaling[name])
        for name in layer.active_adapters
        if name in layer.lora_A
    ]


def side_by_side(added: list[Adapter]) -> tuple[Tensor, Tensor]:
    """All adapters of a layer as one: B = [s1 B1, s2 B2, ...] and A = [A1; A2; ...]."""
    up = torch.cat([scale * up for up, _, scale in added], 1)
    return up, torch.cat([down for _, down, _ in added])
