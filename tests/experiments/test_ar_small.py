"""The decision rule of ar_small on results made by hand, where it must say shown or not shown."""

from pathlib import Path

import polars as pl
import pytest

from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA, Results
from common.schema import AV, TEACHER
from experiments.ar_small import experiment
from experiments.ar_small.findings import sections, verdict

SIZES = {"control": 9_000_000, "blocks_1": 1_000_000, "blocks_4": 4_000_000}
DOCUMENTS = 20
Fves = dict[str, float]
"""FVE by arm."""
EQUAL = dict.fromkeys(SIZES, 0.5)
WITHOUT = dict.fromkeys(SIZES, 0.4)


def results(
    spoken: Fves | None = None,
    stripped: Fves | None = None,
    taught: Fves | None = None,
    noise: float = 0.0,
    floor: float = -0.1,
) -> Results:
    """Results of variance 1: FVE .5, and .4 without quotes or random spans, unless told otherwise.

    `spoken` is the FVE on AV text, `taught` on teacher text, `stripped` on teacher text without
    verbatim quotes. `noise` moves the errors of every second document up or down, in each arm
    against the other arms' direction.
    """
    conditions = {
        (AV, "original"): EQUAL | (spoken or {}),
        (TEACHER, "original"): EQUAL | (taught or {}),
        (TEACHER, "verbatim_stripped"): WITHOUT | (stripped or {}),
        (AV, "verbatim_stripped"): WITHOUT,
        (TEACHER, "quotes_stripped"): WITHOUT,
        **{(source, "verbatim_random_stripped"): WITHOUT for source in (TEACHER, AV)},
        **{(source, "random_stripped"): WITHOUT for source in (TEACHER, AV)},
    }
    rows = [
        row
        for (source, transform), fves in conditions.items()
        for index, (arm, fve) in enumerate(fves.items())
        for row in _rows(
            arm, source, transform, 1 - fve, noise * (-1) ** index * ("random" not in transform)
        )
    ]
    rows += _rows("mean_direction", AV, "original", 1.2, 0.0)
    rows += _rows("tfidf_ridge", AV, "original", 1 - floor, 0.0)
    rows += _rows("own_blocks", AV, "original", 0.0, 0.0)
    facts = {
        "profile": "test",
        "experiment": "ar_small",
        "floors": ["mean_direction", "tfidf_ridge", "own_blocks"],
        "ceilings": ["own_blocks"],
        "variance": 1.0,
        "resamples": 200,
    }
    frame = pl.DataFrame(rows, schema=ROWS_SCHEMA)
    return Results(facts=facts, text_metrics={}, rows=frame, runs=_runs())


def _runs() -> pl.DataFrame:
    sizes = [{"arm": arm, "seed": 0, "trainable_parameters": size} for arm, size in SIZES.items()]
    runs = pl.DataFrame(sizes)
    missing = [
        pl.lit(None, kind).alias(name)
        for name, kind in RUNS_SCHEMA.items()
        if name not in runs.columns
    ]
    return runs.with_columns(missing).select(RUNS_SCHEMA.names())


def _rows(arm: str, source: str, transform: str, error: float, noise: float) -> list[dict]:
    return [
        {
            "arm": arm,
            "seed": 0,
            "key": f"document-{document}:20",
            "doc_id": f"document-{document}",
            "source": source,
            "transform": transform,
            "applied": True,
            "squared_error": error + noise * (-1) ** document,
            "cosine": 1 - error / 2,
            "raw_squared_error": error,
            "retrieval_rank": None,
        }
        for document in range(DOCUMENTS)
    ]


def with_seed(found: Results, seed: int, shifts: Fves) -> Results:
    """The same rows a second time as another seed, the FVE of some arms shifted."""
    shift = pl.col("arm").replace_strict(shifts, default=0.0, return_dtype=pl.Float64)
    again = found.rows.with_columns(
        pl.lit(seed, pl.Int64).alias("seed"), pl.col("squared_error") - shift
    )
    return found._replace(rows=pl.concat([found.rows, again]))


def clause(number: int, found: Results) -> str:
    return verdict(found).split("\n\n")[number]


def test_the_rule_is_that_of_the_readme():
    readme = (Path(experiment.__file__).parent / "README.md").read_text()
    assert experiment.RULE in readme


def test_the_smallest_arm_within_the_margin_is_named():
    told = clause(0, results(spoken={"blocks_4": 0.48, "blocks_1": 0.46}))
    assert "is `blocks_1`: difference -0.040" in told
    assert "1.0 M trainable parameters instead of 9.0 M" in told
    assert "first to fail" not in told


def test_an_arm_beyond_the_margin_fails():
    told = clause(0, results(spoken={"blocks_4": 0.46, "blocks_1": 0.44}))
    assert "is `blocks_4`: difference -0.040" in told
    assert "The first to fail is `blocks_1`: difference to the control -0.060" in told


def test_arms_below_the_first_that_fails_are_not_tested():
    """`blocks_1` alone would pass."""
    told = clause(0, results(spoken={"blocks_4": 0.44, "blocks_1": 0.50}))
    assert "Depth: no AR of fewer blocks is shown to." in told
    assert "first to fail is `blocks_4`" in told
    assert "Not tested after it: `blocks_1`." in told


@pytest.mark.parametrize(
    ("fve", "found"), [(0.46, "shown, difference -0.040"), (0.44, "not shown")]
)
def test_an_arm_off_the_axis_of_depth_is_judged_alone(fve: float, found: str):
    with_bag = results(spoken={"blocks_4": 0.44, "bag_of_words": fve})
    small = with_bag.runs.filter(arm="blocks_1").with_columns(arm=pl.lit("bag_of_words"))
    told = clause(0, with_bag._replace(runs=pl.concat([with_bag.runs, small])))
    assert "Depth: no AR of fewer blocks is shown to." in told
    assert f"`bag_of_words`: {found}" in told


def test_a_wide_interval_shows_nothing():
    """No difference in the mean, but it could be one of more than 0.05."""
    told = clause(0, results(noise=0.3))
    assert "first to fail is `blocks_1`" in told
    assert "`blocks_4`: difference" in told


def test_the_margin_holds_for_every_seed():
    """Means over two seeds: .03 below control; the second seed alone: .06, and then .04."""
    found = results(spoken={"blocks_4": 0.5, "blocks_1": 0.5})
    told = clause(0, with_seed(found, 1, {"blocks_1": -0.06}))
    assert "for these 2 seeds" in told
    assert "smallest shown to is `blocks_4`" in told
    assert "`blocks_1`: difference to the control of the same seed -0.060 (seed 1)." in told
    told = clause(0, with_seed(found, 1, {"blocks_1": -0.04}))
    assert "is `blocks_1`: difference -0.020" in told
    assert "in the worst seed -0.040" in told


@pytest.mark.parametrize(("control", "floor"), [(0.3, 0.4), (-0.05, -0.1)])
def test_nothing_follows_from_a_control_below_the_floors(control: float, floor: float):
    told = clause(0, results(spoken={"control": control}, floor=floor))
    assert told.startswith("Nothing follows about size")


def test_the_control_must_beat_the_best_floor_beyond_doubt():
    """.5 against .4, both intervals above zero, but the difference is uncertain."""
    told = clause(0, results(floor=0.4, noise=0.4))
    assert told.startswith("Nothing follows about size")
    assert "best floor, `tfidf_ridge`" in told


def test_an_arm_must_beat_the_best_floor():
    told = clause(0, results(spoken={"blocks_4": 0.48, "blocks_1": 0.46}, floor=0.47))
    assert "is `blocks_4`" in told
    assert "first to fail is `blocks_1`: not shown to be above the best floor" in told


def test_quotes_are_the_channel_only_of_arms_that_lose_more_than_by_random_spans():
    teacher, av = clause(
        1, results(stripped={"control": 0.1, "blocks_4": 0.4, "blocks_1": 0.45})
    ).split(" Verbatim quotes")
    yes, _, no = teacher.partition("Not shown for")
    assert "`control` (-0.300 [-0.300, -0.300], corrected p ≤ 0.0299)" in yes
    assert "`blocks_4`" in no
    assert "`blocks_1`" in no
    assert "AV text for: no arm." in av


def test_a_noisy_loss_by_stripping_quotes_is_not_shown():
    told = clause(1, results(stripped=dict.fromkeys(SIZES, 0.38), noise=0.3))
    assert "teacher text for: no arm." in told


def test_quotes_in_a_few_documents_measure_nothing():
    found = results(stripped={"control": 0.1})
    few = pl.col("doc_id").is_in(["document-0", "document-1"])
    rows = found.rows.filter(few | ~pl.col("transform").str.starts_with("verbatim_"))
    told = clause(1, found._replace(rows=rows))
    assert told.count("not measured, fewer than 20 documents have any") == 2


def test_an_arm_whose_own_fve_is_not_above_zero_does_not_qualify():
    told = clause(1, results(taught={"control": -0.1}, stripped={"control": -0.9}))
    assert "teacher text for: no arm." in told
    assert "its own FVE is not shown to be above zero" in told


@pytest.mark.parametrize(
    ("small", "found"),
    [
        (0.0, "shown"),
        (0.2, "not shown"),
        (0.35, "not shown (the difference points the other way: -0.300 [-0.300, -0.300])"),
    ],
)
def test_whether_the_smallest_ar_leans_on_quotes_more(small: float, found: str):
    """The control loses .2 beyond random spans, of an FVE of .5."""
    told = clause(2, results(stripped={"control": 0.2, "blocks_4": 0.2, "blocks_1": small}))
    assert told.startswith("`blocks_1`, the smallest transformer arm, ")
    assert f"more than the control: {found}." in told


def test_reliance_is_a_share_of_each_arms_own_fve():
    """A loss of .2 of an FVE of .25 against .2 of .5."""
    found = results(taught={"blocks_1": 0.25}, stripped={"control": 0.2, "blocks_1": 0.2})
    assert "is 0.400 [0.400, 0.400]" in clause(2, found)


def test_shares_of_an_uncertain_fve_are_not_shown():
    told = clause(2, results(taught={"blocks_1": 0.02}, stripped={"blocks_1": 0.0}, noise=0.3))
    assert "more than the control: not shown (an own FVE may not be above zero" in told


def test_results_without_verbatim_quotes_are_not_measured():
    found = results()
    older = found._replace(
        rows=found.rows.filter(~pl.col("transform").str.starts_with("verbatim_"))
    )
    assert clause(0, older) == clause(0, found)
    assert clause(1, older).count("not measured") == 2
    assert clause(2, older).endswith("more than the control: not measured.")
    [section] = sections(older)
    assert "| `control` | not measured | not measured | 0.000" in section.markdown


def test_sections_show_the_effect_of_every_arm():
    [section] = sections(results(stripped={"control": 0.1}))
    titles = "| arm | verbatim, teacher text | verbatim, AV text | all quotes, teacher text |"
    assert titles in section.markdown
    assert "| `control` | -0.300 [-0.300, -0.300] | 0.000 " in section.markdown
    assert section.markdown.count("not measured") == len(SIZES)
