"""Adapters for tests."""

import torch

from common.models.verbalizer import Verbalizer


def stir(
    verbalizer: Verbalizer,
    adapters: str = "default",
    std: float = 0.1,
    generator: torch.Generator | None = None,
) -> Verbalizer:
    """Adapters of this name that have learned something: fresh ones do nothing."""
    for name, parameter in verbalizer.named_parameters():
        if f"lora_B.{adapters}" in name:
            torch.nn.init.normal_(parameter, std=std, generator=generator)
    return verbalizer
