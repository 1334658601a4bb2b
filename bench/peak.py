"""The machine's matrix-multiply peak: what a training step could reach at most."""

from statistics import median

import torch

from common.device import multiplication_speed

SIZE = 2048
SECONDS = 0.25
"""A measurement repeats the product for so long."""


def matmul_peak(dtype: torch.dtype, rounds: int = 5) -> float:
    """FLOP/s of square products in `dtype`, with torch's threads: the median of some rounds."""
    return median(multiplication_speed(dtype, SIZE, SECONDS) for _ in range(rounds))
