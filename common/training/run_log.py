"""Where a training run writes, as far as training knows: not that there is MLflow."""

from typing import Protocol, runtime_checkable

from common.runs import RunFolder


@runtime_checkable
class RunLog(Protocol):
    """A run folder, and whoever hears of its metrics: a Tracker (common/tracking)."""

    folder: RunFolder

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Hear of the metrics of one step."""
        ...
