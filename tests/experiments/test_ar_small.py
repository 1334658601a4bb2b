"""The decision rule of ar_small on results made by hand, where it must say yes, no or not shown."""

import polars as pl
import pytest

from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA, Results
from common.schema import AV, TEACHER
from experiments.ar_small.findings import sections, verdict

SIZES = {"control": 9_000_000, "blocks_4": 4_000_000, "blocks_1": 1_000_000}
DOCUMENTS = 20
Fves = dict[str, float]
"""FVE by arm."""
EQUAL = dict.fromkeys(SIZES, 0.5)


def results(
    spoken: Fves | None = None,
    stripped: Fves | None = None,
    noise: float = 0.0,
    floor: float = -0.1,
) -> Results:
    """Results of variance 1: FVE .5 and .4 without random spans, unless told otherwise.

    `spoken` is the FVE on AV text, `stripped` that on teacher text without quotes. `noise` moves
    the errors of every second document up or down, in each arm against the other arms' direction.
    """
    conditions = {
        (AV, "original"): spoken or EQUAL,
        (TEACHER, "original"): EQUAL,
        (TEACHER, "quotes_stripped"): stripped or dict.fromkeys(SIZES, 0.4),
        (TEACHER, "random_stripped"): dict.fromkeys(SIZES, 0.4),
    }
    rows = [
        row
        for (source, transform), fves in conditions.items()
        for index, (arm, fve) in enumerate(fves.items())
        for row in _rows(
            arm,
            source,
            transform,
            1 - fve,
            noise * (-1) ** index * (transform != "random_stripped"),
        )
    ]
    rows += _rows("mean_direction", AV, "original", 1 - floor, 0.0)
    runs = pl.DataFrame(
        [{"arm": arm, "seed": 0, "trainable_parameters": n} for arm, n in SIZES.items()]
    )
    missing = [
        pl.lit(None, kind).alias(name)
        for name, kind in RUNS_SCHEMA.items()
        if name not in runs.columns
    ]
    return Results(
        facts={
            "profile": "test",
            "experiment": "ar_small",
            "floors": ["mean_direction"],
            "variance": 1.0,
            "resamples": 200,
        },
        text_metrics={},
        rows=pl.DataFrame(rows, schema=ROWS_SCHEMA),
        runs=runs.with_columns(missing).select(RUNS_SCHEMA.names()),
    )


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


def clause(number: int, found: Results) -> str:
    return verdict(found).split("\n\n")[number]


def test_the_smallest_arm_within_the_margin_is_named():
    told = clause(0, results(spoken={"control": 0.50, "blocks_4": 0.48, "blocks_1": 0.46}))
    assert "`blocks_1`" in told
    assert "1.0 M trainable parameters instead of 9.0 M" in told


def test_an_arm_beyond_the_margin_is_not_small_enough():
    told = clause(0, results(spoken={"control": 0.50, "blocks_4": 0.46, "blocks_1": 0.44}))
    assert "`blocks_4`" in told
    assert "`blocks_1`" not in told
    none = clause(0, results(spoken={"control": 0.50, "blocks_4": 0.44, "blocks_1": 0.20}))
    assert none.startswith("No smaller AR is shown")


def test_a_wide_interval_shows_nothing():
    """No difference in the mean, but it could be one of more than 0.05."""
    told = clause(0, results(noise=0.3))
    assert "`blocks_4`" not in told


@pytest.mark.parametrize(("control", "floor"), [(0.3, 0.4), (-0.05, -0.1)])
def test_nothing_follows_from_a_control_below_the_floors(control: float, floor: float):
    told = clause(
        0, results(spoken={"control": control, "blocks_4": 0.5, "blocks_1": 0.5}, floor=floor)
    )
    assert told.startswith("Nothing follows about size")


def test_quotes_are_the_channel_only_of_arms_that_lose_more_than_by_random_spans():
    told = clause(1, results(stripped={"control": 0.1, "blocks_4": 0.4, "blocks_1": 0.45}))
    yes, _, no = told.partition("Not shown for")
    assert "`control`" in yes
    assert "`blocks_4`" in no
    assert "`blocks_1`" in no
    assert "no arm" in clause(1, results())


def test_a_noisy_loss_by_stripping_quotes_is_not_shown():
    told = clause(1, results(stripped=dict.fromkeys(SIZES, 0.38), noise=0.3))
    assert "for: no arm." in told


@pytest.mark.parametrize(
    ("small", "found"),
    [(0.0, "yes"), (0.2, "not shown"), (0.35, "no, they lean on them less")],
)
def test_whether_small_ars_lean_on_quotes_more(small: float, found: str):
    """The control loses .2 beyond random spans, of an FVE of .5."""
    told = clause(2, results(stripped={"control": 0.2, "blocks_4": 0.2, "blocks_1": small}))
    assert f"more than large ones: {found}." in told


def test_sections_show_the_effect_of_every_arm():
    [section] = sections(results(stripped={"control": 0.1, "blocks_4": 0.4, "blocks_1": 0.4}))
    assert "`control`" in section.markdown
    assert "-0.300" in section.markdown.replace("\N{MINUS SIGN}", "-")
