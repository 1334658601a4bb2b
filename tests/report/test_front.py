from pathlib import Path

from common.metrics.statistics import Interval
from common.report.drawing import save_figure
from common.report.front import Axes, front_section, is_dominated, size_section

AXES = Axes("quotes", "FVE", "Quotes against FVE")


def around(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1)


def test_arms_that_are_alike_do_not_push_each_other_off_the_front():
    point = (around(0.1), around(0.3))
    assert not is_dominated("one", {"one": point, "other": point})


def test_an_arm_that_another_beats_is_not_on_the_front(tmp_path: Path):
    points = {
        "control": (around(0.3), around(0.5)),
        "low": (around(0.1), around(0.4)),
        "worse": (around(0.3), around(0.45)),
    }
    section = front_section(points, AXES, list(points))
    assert section.markdown.startswith("Quotes against FVE. On the front")
    assert section.markdown.endswith("`control` and `low`.")
    save_figure(section.drawings[0].figure, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 0


def test_arms_stand_by_size_the_largest_first():
    measures = {"quotes": {"small": around(0.1), "control": around(0.3)}, "FVE": {}}
    sizes = {"small": 10, "control": 1000}
    section = size_section(measures, sizes, list(sizes), "Words.")
    assert section.markdown.splitlines() == [
        "Words.",
        "",
        "| arm | AR parameters | quotes |",
        "| --- | --- | --- |",
        "| `control` | 1,000 | 0.300 [0.200, 0.400] |",
        "| `small` | 10 | 0.100 [0.000, 0.200]° |",
    ]
