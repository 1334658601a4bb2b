"""What a report tells of a chart: its boxes, and test explanations that are walked through it."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ar_variants.flowchart.arm import FittedArm
from ar_variants.flowchart.chart import Chart
from ar_variants.flowchart.fitted import FittedReconstructor
from common.arms.arm import Arm
from common.arms.evaluation import Collected, Evaluation
from common.metrics.fve import squared_errors
from common.schema import AV
from common.seeding import keyed_random

WALKS = 3


class ToldCharts(Evaluation):
    """Facts of the fitted arms.

    `boxes`: {arm: how many, as a mean over seeds}; `chart`: {`boxes`, `walks`} of the first seed of
    the arm that is drawn.
    """

    name = "charts"
    has_stage = False

    def __init__(self, drawn: str) -> None:
        """`drawn` names the arm."""
        self.drawn = drawn

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Measured on the test explanations of the warm-started AV."""
        chart, boxes = {}, {}
        for arm in arms:
            if not isinstance(arm, FittedArm):
                continue
            counts = [arm.run_folder(seed).summary["boxes"] for seed in arm.seeds]
            boxes[arm.label] = sum(counts) / len(counts)
            if arm.label == self.drawn:
                chart = told(arm)
        return Collected(facts={"chart": chart, "boxes": boxes})


def told(arm: FittedArm) -> dict[str, Any]:
    """The chart of the first seed, with what the test explanations of the warm-started AV do."""
    chart, tests = arm.load(arm.run_folder(arm.seeds[0])), arm.test_set(arm.seeds[0])
    assert isinstance(chart, Chart), f"{arm.label} is no chart"
    texts, variance = tests.written_by(AV).test, tests.denominators["variance"]
    return {
        "boxes": [[*one] for one in chart.drawn(texts, variance)],
        "walks": walks(chart, texts, tests.judge.activations, variance),
    }


def walks(
    model: FittedReconstructor,
    texts: Sequence[str],
    truth: Float[Tensor, "rows d_model"],
    variance: float,
) -> list[dict[str, Any]]:
    """Explanations of rows drawn by key, with the FVE after each step that adds anything."""
    rows = keyed_random("walks").sample(range(len(texts)), min(WALKS, len(texts)))
    return [
        {"text": texts[row], "steps": walk(model, texts[row], truth[row], variance)}
        for row in sorted(rows)
    ]


def walk(
    model: FittedReconstructor, text: str, truth: Float[Tensor, " d_model"], variance: float
) -> list[list[Any]]:
    """`[title, answer, FVE so far]` of each box; first the start."""
    total = model.start.clone()
    found: list[list[Any]] = [["Start", "", _fve(total, truth, variance)]]
    for step in model.steps(text):
        total = total + step.vector
        found.append([step.title, step.answer, _fve(total, truth, variance)])
    return found


def _fve(answer: Tensor, truth: Tensor, variance: float) -> float:
    error = squared_errors(answer[None], truth[None])
    return 1 - float(error[0]) / variance
