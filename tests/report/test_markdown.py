import math

import pytest

from common.metrics.statistics import Interval
from common.report.markdown import ABSENT, amount, bounds, cell, fixed, percent, plain, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (-0.0001, "0.000"), (-10.0002, "-10.000"), (None, ABSENT)],
)
def test_fixed(value, text):
    assert fixed(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (80_000_000, "80,000,000"),
        (2e-4, "0.0002"),
        (1234.5, "1,234"),
        (3.0, "3"),
        (0.58765, "0.588"),
    ],
)
def test_amount(value, text):
    assert amount(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1.0, "100 %"), (0.999, "99 %"), (0.001, "1 %"), (0.57, "57 %")]
)
def test_percent_never_rounds_to_all_or_nothing(share, text):
    assert percent(share) == text


def test_bounds_are_marked_exactly_when_they_include_zero():
    assert bounds(Interval(0.1, 0.0, 0.2)) == "0.100 [0.000, 0.200]°"
    assert bounds(Interval(-0.1, -0.2, 0.1)).endswith("°")
    assert bounds(Interval(-0.2, -0.3, -0.1)) == "-0.200 [-0.300, -0.100]"
    assert bounds(Interval(0.3, math.nan, math.nan)) == "0.300"
    assert bounds(None) == ABSENT


def test_plain_text_holds_no_markup():
    assert plain("a | *b*\n<c> `d` [e](f)") == r"a \| \*b\* &lt;c&gt; \`d\` \[e\](f)"


def test_cell_keeps_markup_but_breaks_no_table():
    assert cell("`a` | b\nc \\| d") == r"`a` \| b c \| d"


def test_table_leaves_empty_columns_out():
    rows = [{"a": "1", "b": ABSENT}, {"a": "2", "b": ABSENT, "c": "3"}]
    assert table(rows) == f"| a | c |\n| --- | --- |\n| 1 | {ABSENT} |\n| 2 | 3 |"
    assert table([]) == ""
