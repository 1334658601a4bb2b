"""Whether bfloat16 pays is measured where a CPU has it, and never guessed from its instructions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from common import device, profile


@pytest.fixture(autouse=True)
def _forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(device, "REMEMBERED", tmp_path / "bfloat16.json")
    device.gains_from_bfloat16.cache_clear()
    yield
    device.gains_from_bfloat16.cache_clear()


def a_cpu(monkeypatch: pytest.MonkeyPatch, *, instructions: bool, low: float, full: float) -> None:
    """A CPU that multiplies bfloat16 matrices at `low` and float32 ones at `full` FLOP/s."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": instructions})
    speeds = {torch.bfloat16: low, torch.float32: full}
    monkeypatch.setattr(device, "multiplication_speed", lambda dtype, **_: speeds[dtype])


@pytest.mark.parametrize(
    ("instructions", "low", "full", "gains"),
    [(True, 744e9, 191e9, True), (True, 165e9, 310e9, False), (False, 744e9, 191e9, False)],
)
def test_what_is_measured_decides(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, low: float, full: float, gains: bool
) -> None:
    a_cpu(monkeypatch, instructions=instructions, low=low, full=full)
    assert device.gains_from_bfloat16() is gains
    laptop = profile.load_profile("laptop")
    assert laptop.trainer.precision == ("bf16-mixed" if gains else "32-true")
    assert laptop.activations.precision == ("bfloat16" if gains else "float32")


def test_what_was_measured_once_holds_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    a_cpu(monkeypatch, instructions=True, low=744e9, full=191e9)
    assert device.gains_from_bfloat16()
    device.gains_from_bfloat16.cache_clear()
    a_cpu(monkeypatch, instructions=True, low=165e9, full=310e9)
    assert device.gains_from_bfloat16(), "in a new process, on a busy machine"
    monkeypatch.setattr(device, "device_name", lambda: "another machine")
    device.gains_from_bfloat16.cache_clear()
    assert not device.gains_from_bfloat16()


def test_a_profile_that_names_its_precision_measures_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_cpu(monkeypatch, instructions=True, low=0.0, full=0.0)
    monkeypatch.setattr(device, "multiplication_speed", None)
    assert profile.load_profile("smoke").trainer.precision == "32-true"
