"""The machine's matrix-multiply peak: what a training step could reach at most."""

import time
from statistics import median

import torch

SIZE = 2048
SECONDS = 0.25
"""A measurement repeats the product for so long."""


def matmul_peak(dtype: torch.dtype, size: int = SIZE, rounds: int = 5) -> float:
    """FLOP/s of square products in `dtype`, with torch's threads: the median of some rounds."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.mm(left, right)
    return median(_rate(left, right) for _ in range(rounds))


def _rate(left: torch.Tensor, right: torch.Tensor) -> float:
    products, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        torch.mm(left, right)
        products += 1
    return 2 * products * len(left) ** 3 / elapsed
