"""Peaks: of the machine's matrix products, which a step could reach at most, and of memory."""

import contextlib
import ctypes
import gc
import math
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from common.device import multiplication_speed

SIZE = 2048
SECONDS = 0.25
"""A measurement repeats the product for so long."""


def matmul_peak(dtype: torch.dtype, rounds: int = 5) -> float:
    """FLOP/s of square products in `dtype`, with torch's threads: the median of some rounds."""
    return median(multiplication_speed(dtype, SIZE, SECONDS) for _ in range(rounds))


def memory_peak(work: Callable[[], object]) -> float:
    """GiB that this process holds at most while `work` runs; on a GPU what tensors hold there.

    NaN where the system does not tell.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        work()
        return torch.cuda.max_memory_allocated() / 2**30
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # what others have freed is not held by this one
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux forgets the peak so far
    except OSError:
        work()
        return math.nan  # another system, or not allowed
    work()
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(line for line in lines if line.startswith("VmHWM:"))
    return int(held.split()[1]) / 2**20
