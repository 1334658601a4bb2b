"""The machine at hand: where models run, and whether bfloat16 is faster there."""

import json
import platform
import time
from functools import cache
from pathlib import Path

import torch

from common.files import replace_text

REMEMBERED = Path("data/bfloat16.json")
"""For each machine, whether bfloat16 is faster. Delete the file to measure again."""
ROUNDS = 3
CLEARLY_FASTER = 1.3
"""Ratio of speeds; below it the casts of mixed precision cost more than its products save."""


def best_device() -> torch.device:
    """The GPU if there is one (the first that this process sees), else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The GPU's name, or the number of CPU threads that torch uses."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()}"


def in_bfloat16(precision: str) -> bool:
    """Whether a trainer of this precision ("32-true", "bf16-mixed") multiplies in bfloat16."""
    return precision.startswith("bf16")


@cache
def gains_from_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 matrices clearly faster than float32 ones.

    On a CPU that has the instructions this is measured, in a tenth of a second: with tiles (AMX)
    bfloat16 was four times as fast as float32, with AVX-512 alone half as fast. Other CPUs emulate
    it. The answer is kept in `REMEMBERED`, because every result depends on it: a second
    measurement, made while other work runs, might differ, and finished runs would then have the
    wrong precision.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)):
        return False
    machine = f"{device_name()}, {', '.join(sorted(n for n, has in capabilities.items() if has))}"
    known = _remembered()
    if machine not in known:
        known[machine] = _measures_a_gain()
        if REMEMBERED.parent.is_dir():
            replace_text(REMEMBERED, json.dumps(known, indent=2) + "\n")
    return known[machine]


def _remembered() -> dict[str, bool]:
    try:
        return json.loads(REMEMBERED.read_text())
    except (OSError, json.JSONDecodeError):
        return {}


def _measures_a_gain() -> bool:
    rounds = [(_speed_of(torch.bfloat16), _speed_of(torch.float32)) for _ in range(ROUNDS)]
    low, full = (max(speeds) for speeds in zip(*rounds, strict=True))
    return low > CLEARLY_FASTER * full


def _speed_of(dtype: torch.dtype) -> float:
    return multiplication_speed(dtype, seconds=0.01)


def multiplication_speed(dtype: torch.dtype, size: int = 1024, seconds: float = 0.2) -> float:
    """FLOP/s of square matrix products on the CPU, with torch's threads: the bulk of training."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    torch.mm(left, right)
    products, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        torch.mm(left, right)
        products += 1
    return 2 * products * size**3 / elapsed
