"""Gather an experiment's finished runs into the tables that its report reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from common.arms.arm import Arm
from common.arms.evaluation import Collected
from common.commands.facts import facts_of
from common.commands.texts import shown_texts, text_metrics_by_writer
from common.errors import NlaError
from common.experiment import Experiment
from common.lifecycle.check import check_current
from common.lifecycle.identity import arguments
from common.lifecycle.tune import sweep_of
from common.manifest import write_json
from common.params import CONTROL
from common.paths import results_folder
from common.profile import Profile
from common.report.results import (
    CURVES_SCHEMA,
    FAILED,
    MEASURES_SCHEMA,
    ROWS_SCHEMA,
    RUNS_SCHEMA,
    TRIALS_SCHEMA,
    Results,
    save_results,
)
from common.runs import RunFolder
from common.schema import AV, NEAREST_TEXT, NEXT_TOKENS_TEXT, TEACHER
from common.tuning.study import trials_table

Runs = list[tuple[Arm, RunFolder]]
WRITERS = (NEAREST_TEXT, NEXT_TOKENS_TEXT)
OWN_READER = (TEACHER, AV)
"""Sources whose texts an arm's own AR has read."""


def collect(experiment: Experiment, profile: Profile) -> None:
    """Write results, and the metrics.json that DVC compares; NlaError names an unfinished run."""
    arms = experiment.arms_at(profile)
    runs = [(arm, check_current(arm, seed)) for arm in arms for seed in arm.seeds]
    evaluated = [evaluation.collect(arms) for evaluation in experiment.evaluations]
    rows, measures = (
        under_all_seeds(_together(_tables(runs, name, schema), evaluated, name, schema), arms)
        for name, schema in (("rows", ROWS_SCHEMA), ("measures", MEASURES_SCHEMA))
    )
    rows = with_reference_writers(rows)
    curves = _together([_curves(runs)], evaluated, "curves", CURVES_SCHEMA)
    results = Results(
        facts=facts_of(experiment, arms, runs, evaluated, rows),
        text_metrics=text_metrics_by_writer(runs),
        rows=rows,
        runs=pl.DataFrame([_run(*run) for run in runs], schema=RUNS_SCHEMA),
        trials=pl.concat([_trials(arm) for arm in arms], how="diagonal"),
        curves=curves,
        measures=measures,
        texts=shown_texts(runs),
    )
    folder = results_folder(profile.name, experiment.name)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "metrics.json", _headline(results))
    save_results(folder, results)


def under_all_seeds(table: pl.DataFrame, arms: Sequence[Arm]) -> pl.DataFrame:
    """Rows of a run that stands for several seeds, repeated for each, so that seeds are paired."""
    copies = [
        table.filter(arm=arm.label, seed=_stands_in(arm, seed)).with_columns(
            seed=pl.lit(seed, pl.Int64)
        )
        for arm in arms
        for seed in arm.paired_seeds
        if seed not in arm.seeds
    ]
    return pl.concat([table, *copies])


def with_reference_writers(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows in which reference writers are arms, as other references are, instead of sources.

    They stand beside each source that the control's own AR reads. Those of other arms are left out:
    their ARs read other texts well, which says nothing of their AVs.
    """
    writers = pl.col("source").is_in(WRITERS)
    read = rows.filter(writers, arm=CONTROL)
    sources = rows.filter(pl.col("source").is_in(OWN_READER), arm=CONTROL)["source"]
    beside = [
        read.with_columns(arm=pl.col("source"), source=pl.lit(source))
        for source in sources.unique(maintain_order=True)
    ]
    return pl.concat([rows.filter(~writers), *beside])


def _stands_in(arm: Arm, seed: int) -> int:
    """The seed whose run an arm in which nothing is trained has made for this one."""
    first = arm.first_seeds[arm.pair_of(seed)]
    return first if first in arm.seeds else arm.seeds[0]


def _together(
    tables: list[pl.DataFrame], evaluated: list[Collected], name: str, schema: Mapping[str, Any]
) -> pl.DataFrame:
    """Tables of the runs and of the evaluations, with the columns of the schema."""
    further = [table for one in evaluated if (table := getattr(one, name)) is not None]
    shaped = [_as(table, schema) for table in [*tables, *further]]
    return pl.concat(shaped) if shaped else pl.DataFrame(schema=schema)


def _tables(runs: Runs, name: str, schema: Mapping[str, Any]) -> list[pl.DataFrame]:
    """The table of every run that has one, under the arm's name in this experiment."""
    files = [(arm, run, getattr(run, f"{name}_file")) for arm, run in runs]
    return [
        run.table(file, list(schema)).with_columns(arm=pl.lit(arm.label))
        for arm, run, file in files
        if file.exists()
    ]


def _as(table: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    return table.select(list(schema)).cast(pl.Schema(schema))


def _run(arm: Arm, folder: RunFolder) -> dict[str, Any]:
    """A row of `runs`; a fact that this kind of arm does not have is null."""
    summary = folder.summary
    named = {"arm": arm.label, "seed": folder.seed}
    if not arm.learns:
        named["train_seconds"] = None  # a training that ends at once: it measured its own start
    return named | {name: summary.get(name) for name in RUNS_SCHEMA.names() if name not in named}


def _trials(arm: Arm) -> pl.DataFrame:
    if not arm.plan.search:
        return pl.DataFrame(schema=TRIALS_SCHEMA)
    sweep = sweep_of(arm)
    table = trials_table(sweep.name, sweep.storage)
    done = table.filter(pl.col("state") != FAILED).height
    if done < sweep.budget:
        what = f"only {done} of {sweep.budget} trials are done"
        raise NlaError(what, where=sweep.name, remedy=f"nla sweep {arguments(arm)}")
    tuned = [name for name in table.columns if name.startswith("params_")]
    named = table.with_columns(arm=pl.lit(arm.label)).select(*TRIALS_SCHEMA.names(), *tuned)
    return named.cast({name: TRIALS_SCHEMA[name] for name in TRIALS_SCHEMA.names()})


def _curves(runs: Runs) -> pl.DataFrame:
    rows = [
        (arm.label, folder.seed, step, name, value)
        for arm, folder in runs
        if folder.metrics_file.exists() and folder.checked(folder.metrics_file)
        for step, values in folder.metrics()
        for name, value in values.items()
        if name in arm.curves
    ]
    return pl.DataFrame(rows, schema=CURVES_SCHEMA, orient="row")


def _headline(results: Results) -> dict[str, float]:
    """Of every arm and floor `<arm>/<writer>_fve` and, beyond the last k tokens, `_beyond_<k>`.

    And `<arm>/<measure>`, the mean of a measure.
    """
    original = results.rows.filter(pl.col("applied"), transform="original")
    variances = {"fve": results.facts.get("variance", 1.0), **results.facts.get("variances", {})}
    found = {}
    for name, variance in variances.items():
        column = "squared_error" if name == "fve" else f"error_{name}"
        errors = original.drop_nulls(column).group_by("arm", "source").agg(pl.col(column).mean())
        found |= {f"{arm}/{source}_{name}": 1 - e / variance for arm, source, e in errors.rows()}
    means = results.measures.group_by("arm", "measure").agg(pl.col("value").mean())
    return dict(sorted({**found, **{f"{a}/{m}": v for a, m, v in means.rows()}}.items()))
