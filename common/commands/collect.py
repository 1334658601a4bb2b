"""Gather an experiment's finished runs into the tables that its report reads."""

import json

import polars as pl

from common.arm import Arm
from common.config import Profile
from common.errors import NlaError
from common.experiment import Experiment
from common.manifest import read_manifest, read_table
from common.material import Material
from common.metrics.degeneration import degeneration
from common.metrics.quotes import longest_common_substring, quote_share, verbatim_ngram_share
from common.paths import results_folder, run_folder
from common.report.results import (
    CURVES_SCHEMA,
    ROWS_SCHEMA,
    RUNS_SCHEMA,
    TRIALS_SCHEMA,
    Results,
    save_results,
)
from common.runs import RunFolder
from common.schema import AV, KEY, TEACHER, TEXT
from common.seeding import keyed_seed
from common.tracking.note import commit_of
from common.tuning.study import trials_table

FLOORS = ["mean_direction", "tfidf_ridge", "embedding_ridge", "own_blocks"]
CEILINGS = ["own_blocks"]
CURVES = ("train_loss", "dev_fve")


def collect(experiment: Experiment, profile: Profile) -> None:
    """Write results, and the metrics.json that DVC compares; NlaError names an unfinished run."""
    material = Material(profile)
    arms = [Arm(experiment, name, profile, material) for name in experiment.params.arms]
    folders = [
        RunFolder(run_folder(profile.name, experiment.name, arm.name, seed))
        for arm in arms
        for seed in profile.tuning.seeds
    ]
    for folder in folders:
        next(arm for arm in arms if arm.name == folder.identity[2]).check(folder)
    results = Results(
        facts=_facts(experiment, material, folders),
        text_metrics={source: text_metrics(material, source) for source in (TEACHER, AV)},
        rows=_rows(folders, material),
        runs=pl.DataFrame([_run(folder) for folder in folders], schema=RUNS_SCHEMA),
        trials=pl.concat([_trials(arm) for arm in arms], how="diagonal"),
        curves=_curves(folders),
        texts=_texts(material),
    )
    folder = results_folder(profile.name, experiment.name)
    save_results(folder, results)
    metrics = _headline(results)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")


def text_metrics(material: Material, source: str) -> dict[str, float]:
    """Length, quotes and degeneration of one writer's test explanations (means over texts)."""
    table = material.test_table
    texts, sources = table[source].to_list(), table[TEXT].to_list()
    tokenizer = material.tokenizer
    lengths = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    pairs = list(zip(texts, sources, strict=True))
    quotes = {
        "quote_share": _mean([quote_share(text) for text in texts]),
        "verbatim_4gram_share": _mean([verbatim_ngram_share(*pair) for pair in pairs]),
        "longest_common_substring": _mean([longest_common_substring(*pair) for pair in pairs]),
    }
    return quotes | degeneration(texts, lengths, material.profile.av.max_explanation_tokens)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _texts(material: Material) -> pl.DataFrame:
    """Source text and explanations of every test activation, in a keyed random order."""
    table = material.test_table.select(KEY, pl.col(TEXT).alias("source_text"), TEACHER, AV)
    keys = table[KEY].to_list()
    return table[sorted(range(len(keys)), key=lambda row: keyed_seed("shown", keys[row]))]


def _facts(experiment: Experiment, material: Material, folders: list[RunFolder]) -> dict:
    profile = material.profile
    variance, raw_variance = material.test_variance()
    digests = {run.summary["digest"] for run in folders}
    assert len(digests) == len(folders), "two runs claim the same config"
    av_run = material.av_run.summary
    return {
        "experiment": experiment.name,
        "profile": profile.name,
        "arms": list(experiment.params.arms),
        "floors": FLOORS,
        "ceilings": CEILINGS,
        "variance": variance,
        "raw_variance": raw_variance,
        "resamples": profile.evaluation.resamples,
        "distractors": profile.evaluation.distractors,
        "layer": material.layer,
        "target": profile.target.model,
        "activations_training": len(material.training_activations),
        "activations_test": material.test_table.height,
        "av_gap_nats_per_token": av_run["dev_gap"],
        "av_dev_loss": av_run["dev_loss"],
        "av_examples": av_run["examples"],
        "av_train_seconds": av_run["train_seconds"],
        "alpha": av_run["alpha"],
        "commit": _each([commit_of(run) for run in folders]),
        "device": _each([run.summary.get("device", "unknown") for run in folders]),
        "digests": material.digests(),
    }


def _each(values: list[str]) -> list[str]:
    """What the runs have in common, or all that they were made with."""
    return sorted(set(values))


def _rows(folders: list[RunFolder], material: Material) -> pl.DataFrame:
    read_manifest(material.trunk.floors, "floors", **material.digests())
    floors = read_table(material.trunk.floors, "floors").with_columns(seed=pl.lit(0, pl.Int64))
    frames = [read_table(run.rows_file, f"experiments/{run.identity[1]}") for run in folders]
    return pl.concat(
        [frame.select(ROWS_SCHEMA.names()).cast(ROWS_SCHEMA) for frame in [*frames, floors]]
    )


def _run(folder: RunFolder) -> dict:
    summary = folder.summary
    named = {"arm": folder.identity[2], "seed": int(folder.identity[3])}
    return named | {name: summary[name] for name in RUNS_SCHEMA.names() if name not in named}


def _trials(arm: Arm) -> pl.DataFrame:
    sweep = arm.sweep()
    table = trials_table(sweep.name, sweep.storage)
    if table.height < sweep.budget:
        what = f"only {table.height} of {sweep.budget} trials are done"
        raise NlaError(
            what, where=sweep.name, remedy=f"nla sweep {arm.experiment.name} --arm {arm.name}"
        )
    tuned = [name for name in table.columns if name.startswith("params_")]
    named = table.with_columns(arm=pl.lit(arm.name)).select(*TRIALS_SCHEMA.names(), *tuned)
    return named.cast({name: TRIALS_SCHEMA[name] for name in TRIALS_SCHEMA.names()})


def _curves(folders: list[RunFolder]) -> pl.DataFrame:
    rows = [
        {
            "arm": folder.identity[2],
            "seed": int(folder.identity[3]),
            "step": step,
            "metric": name,
            "value": value,
        }
        for folder in folders
        for step, values in folder.metrics()
        for name, value in values.items()
        if name in CURVES
    ]
    return pl.DataFrame(rows, schema=CURVES_SCHEMA)


def _headline(results: Results) -> dict[str, float]:
    """`<arm>/<writer>_fve` of every arm and floor."""
    original = results.rows.filter((pl.col("transform") == "original") & pl.col("applied"))
    means = (
        original.group_by("arm", "source").agg(pl.col("squared_error").mean()).sort("arm", "source")
    )
    variance = results.facts["variance"]
    return {f"{arm}/{source}_fve": 1 - error / variance for arm, source, error in means.rows()}
