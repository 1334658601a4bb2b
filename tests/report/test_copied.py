"""How many copied tokens an FVE is worth."""

from math import nan

import pytest

from common.metrics.statistics import Interval
from common.report.copied import MAPPED, RAW, copied_panels, copied_table, worth, worth_line
from common.report.markdown import ABSENT
from common.report.results import Results
from common.report.tables import arm_table


def sure(value: float) -> Interval:
    return Interval(value, value - 0.1, value + 0.1)


CURVE = {1: sure(0.2), 2: sure(0.4), 4: sure(0.6), 16: sure(0.8)}


@pytest.mark.parametrize(
    ("fve", "told"),
    [
        (0.1, "less than 1"),
        (0.2, "1.0"),
        (0.3, "1.4"),  # half of the way from 1 to 2 on the logarithm: the root of 2
        (0.5, "2.8"),
        (0.7, "8.0"),
        (0.8, "16"),
        (0.9, "more than 16"),
        (nan, ABSENT),
    ],
)
def test_worth(fve: float, told: str):
    assert worth(fve, CURVE) == told


def test_a_curve_that_falls_is_met_where_it_first_rises_so_high():
    assert worth(0.45, {1: sure(0.2), 2: sure(0.5), 4: sure(0.3), 8: sure(0.6)}) == "1.8"


def test_panels_hold_both_curves_and_every_arm(results: Results):
    fve, beyond = copied_panels(arm_table(results, "teacher"))
    assert list(fve.curves) == list(beyond.curves) == [RAW, MAPPED]
    assert [*fve.curves[RAW]] == [1, 2, 4, 8, 16]
    assert [*fve.arms] == results.arms
    assert beyond.title == "FVE beyond the last token"
    lines = copied_table([fve, beyond]).splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("| copied tokens | FVE, own blocks | FVE, own blocks, with a linear")
    line = worth_line([fve, beyond])
    assert "read by the target's own blocks, with a linear map): `control` 3." in line


def test_without_the_curve_nothing_is_told(results: Results):
    rows = [row for row in arm_table(results, "teacher") if not row.arm.startswith("own_blocks")]
    assert copied_panels(rows) == []
    assert worth_line([]) == ""
    raw = [row for row in arm_table(results, "teacher") if not row.arm.endswith("_linear")]
    assert "target's own blocks): `control`" in worth_line(copied_panels(raw))
