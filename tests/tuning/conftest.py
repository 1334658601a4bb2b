import pytest

from common.tuning import sweep as sweep_module


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "POLL_SECONDS", 0.05)
