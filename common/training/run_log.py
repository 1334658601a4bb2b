"""Where a training run writes its metrics; training does not know about MLflow."""

from typing import Protocol, runtime_checkable

from common.runs import RunFolder


@runtime_checkable
class RunLog(Protocol):
    """A run folder, and a receiver of its metrics: a Tracker (common/tracking)."""

    folder: RunFolder

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Receive the metrics of one step."""
        ...
