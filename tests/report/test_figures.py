from math import nan

import polars as pl
import pytest

from common.report import drawing, figures
from common.report.results import Results
from common.report.tables import arm_table, prefix_table, survival_table


@pytest.fixture(scope="module")
def draw(results: Results):
    arms = {source: arm_table(results, source) for source in results.sources}
    survival = {source: survival_table(results, source) for source in results.sources}
    prefixes = {source: prefix_table(results, source) for source in results.sources}
    return {
        "fve": lambda: figures.fve_figure(arms, results.arms),
        "survival": lambda: figures.survival_figure(survival, results.arms),
        "prefix": lambda: figures.prefix_figure(prefixes, results.arms),
        "cost": lambda: figures.cost_figure(arms["teacher"], results.runs, results.arms),
        "curves": lambda: figures.curves_figure(results.curves, results.arms),
    }


@pytest.mark.parametrize("name", ["fve", "survival", "prefix", "cost", "curves"])
def test_the_same_numbers_give_the_same_bytes(draw, name, tmp_path):
    for copy in ("first", "second"):
        drawing.save_figure(draw[name](), tmp_path / f"{copy}.png")
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "second.png").read_bytes()
    assert b"Software" not in first


def test_every_arm_is_named_and_drawn_where_it_stands(results: Results, draw):
    left = draw["fve"]().axes[0]
    names = [tick.get_text() for tick in left.get_yticklabels()]
    assert names == results.arms
    estimates = [row.fve.estimate for row in arm_table(results, "teacher") if not row.is_floor]
    drawn = [bar.lines[0].get_xdata()[0] for bar in left.containers]
    assert drawn == pytest.approx(estimates)


def test_a_share_without_an_interval_is_not_drawn(results: Results):
    rows = survival_table(results, "teacher")
    few = rows[0]._replace(share=rows[0].share._replace(low=nan, high=nan))
    axes = figures.survival_figure({"teacher": [few, *rows[1:]]}, results.arms).axes[0]
    assert len(axes.containers) == len(rows) - 1


def test_a_transform_without_any_interval_has_no_place(results: Results):
    rows = survival_table(results, "teacher")
    gone = rows[0].transform
    without = rows[0].share._replace(low=nan, high=nan)
    rows = [row._replace(share=without) if row.transform == gone else row for row in rows]
    axes = figures.survival_figure({"teacher": rows}, results.arms).axes[0]
    places = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(places) == len({row.transform for row in rows}) - 1
    nothing = {"teacher": [row for row in rows if row.transform == gone]}
    assert figures.survival_figure(nothing, results.arms) is None


def test_each_seed_of_each_arm_has_a_curve(draw):
    assert [len(axes.lines) for axes in draw["curves"]().axes] == [9, 9]


def test_many_arms_look_different():
    styles = drawing.arm_styles(["control", *(f"arm_{index:02d}" for index in range(15))])
    assert len(set(styles.values())) == 16


def test_an_arm_looks_the_same_in_every_figure(results: Results):
    """Also where others are missing."""
    styles = drawing.arm_styles(results.arms)
    last = results.arms[-1]
    rows = [row for row in survival_table(results, "teacher") if row.arm == last]
    drawn = figures.survival_figure({"teacher": rows}, results.arms).axes[0].containers
    assert {tuple(bar.lines[0].get_color()) for bar in drawn} == {styles[last].color}


def test_no_cost_figure_where_all_arms_cost_the_same(results: Results):
    runs = results.runs.with_columns(pl.lit(60.0).alias("train_seconds"), parameters=pl.lit(5))
    assert figures.cost_figure(arm_table(results, "av"), runs, results.arms) is None
