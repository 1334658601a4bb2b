from math import nan

import polars as pl
import pytest

from common.metrics.statistics import Interval
from common.params import load_params
from common.report import drawing, figures
from common.report.damaged import prefix_table, survival_table
from common.report.results import Results
from common.report.tables import arm_table


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
    assert names == ["control", "input aware", "small"]
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


def test_the_mean_of_a_measure_is_drawn_where_it_stands():
    columns = {"AUROC": {"a": Interval(0.6, 0.5, 0.7), "control": Interval(0.5, nan, nan)}}
    axes = figures.measures_figure(columns, ["control", "a", "absent"]).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["control", "a"]
    assert [bar.lines[0].get_xdata()[0] for bar in axes.containers] == [0.6, 0.5]


def test_the_legend_names_what_is_seen():
    """A curve of one point gets a mark; an arm without a number gets nothing."""
    rows = [("control", 0, step, "dev_fve", 0.1 * step) for step in range(3)]
    rows += [("warm_start", 0, 0, "dev_fve", 0.2), ("gone", 0, 0, "dev_fve", nan)]
    curves = pl.DataFrame(rows, schema=["arm", "seed", "step", "metric", "value"], orient="row")
    figure = figures.curves_figure(curves, ["control", "warm_start", "gone", "never"])
    (shown,) = figure.legends
    assert [text.get_text() for text in shown.get_texts()] == ["control", "warm start"]
    assert figure.axes[0].get_ylabel() == "FVE, dev documents"


def test_what_lies_beyond_the_axis_is_not_in_the_legend(results: Results):
    rows = survival_table(results, "teacher")
    far = Interval(-9.0, -9.5, -8.5)
    rows = [row._replace(share=far) if row.arm == "small" else row for row in rows]
    (shown,) = figures.survival_figure({"teacher": rows}, results.arms).legends
    assert [text.get_text() for text in shown.get_texts()] == ["control", "input aware"]


def test_many_arms_look_different():
    styles = drawing.arm_styles(["control", *(f"arm_{index:02d}" for index in range(30))])
    assert len(set(styles.values())) == 31


def test_a_dozen_arms_have_a_dozen_colors():
    styles = drawing.arm_styles(["control", *(f"arm_{index:02d}" for index in range(12))])
    assert len({style.color for style in styles.values()}) == 13


def test_an_arm_looks_the_same_in_every_experiment():
    params = [load_params(name) for name in ("baseline", "ar_small", "ar_small_rl")]
    looks: dict[str, set[drawing.ArmStyle]] = {}
    for one in params:
        compared = [name for name, arm in one.arms.items() if arm.kind != "reader"]
        for arm, style in drawing.arm_styles(compared).items():
            looks.setdefault(arm, set()).add(style)
    assert {len(styles) for styles in looks.values()} == {1}
    assert len(looks) == 14


def test_only_one_of_two_that_want_the_same_color_moves():
    names = [f"arm_{index:02d}" for index in range(9)]
    alone = {name: drawing.arm_styles([name])[name].color for name in names}
    together = drawing.arm_styles(names)
    for color in set(alone.values()):
        first = min(name for name in names if alone[name] == color)
        assert together[first].color == color
    assert drawing.arm_styles(names[::-1]) == together


def test_an_arm_looks_the_same_in_every_figure(results: Results):
    """Also where others are missing."""
    styles = drawing.arm_styles(results.arms)
    last = results.arms[-1]
    rows = [row for row in survival_table(results, "teacher") if row.arm == last]
    drawn = figures.survival_figure({"teacher": rows}, results.arms).axes[0].containers
    assert {tuple(bar.lines[0].get_color()) for bar in drawn} == {styles[last].color}


def test_no_cost_figure_where_all_arms_cost_about_the_same(results: Results):
    seconds = pl.when(arm="control").then(60.0).otherwise(70.0)
    runs = results.runs.with_columns(seconds.alias("train_seconds"), parameters=pl.lit(5))
    assert figures.cost_figure(arm_table(results, "av"), runs, results.arms) is None
