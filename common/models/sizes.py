"""The size of a model."""

import torch


def model_sizes(model: torch.nn.Module) -> dict[str, int]:
    """How many parameters a model has, and how many were trained."""
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
