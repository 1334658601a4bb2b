"""Gather an experiment's finished runs into the tables that its report reads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from common.arms.arm import Arm
from common.arms.neutral import neutral_tables, own_texts, runs_of, texts_of_test
from common.data.activations import load_activations
from common.errors import NlaError
from common.experiment import Experiment
from common.files import replace_text
from common.manifest import read_artefact, read_manifest
from common.material import Material
from common.metrics.degeneration import degeneration
from common.metrics.quotes import (
    longest_common_substring,
    quote_share,
    unpaired_marks,
    verbatim_ngram_share,
)
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
from common.schema import AV, KEY, TEACHER, TEST, TEXT
from common.seeding import keyed_seed
from common.target.text import encode
from common.tracking.note import commit_of
from common.tuning.study import trials_table

FLOORS = ["mean_direction", "tfidf_ridge", "embedding_ridge", "own_blocks"]
CEILINGS = ["own_blocks"]


def collect(experiment: Experiment, profile: Profile) -> None:
    """Write results, and the metrics.json that DVC compares; NlaError names an unfinished run."""
    material = Material(profile)
    arms = experiment.arms_of(material)
    folders = list(runs_of(arms))
    own = arms[0].has_own_texts
    if own:  # floors of their own, too: the trunk's read other texts
        floors, curves, missing = neutral_tables(material, folders)
        measures = _tables(folders, "measures_file", MEASURES_SCHEMA)
    else:
        floors, missing = _trunk_floors(material)
        curves = pl.DataFrame(schema=CURVES_SCHEMA)
        measures = pl.DataFrame(schema=MEASURES_SCHEMA)
    rows = pl.concat([_tables(folders, "rows_file", ROWS_SCHEMA), _as(floors, ROWS_SCHEMA)])
    rows, measures = (under_all_seeds(table, arms) for table in (rows, measures))
    results = Results(
        facts=_facts(experiment, material, folders, rows)
        | {"untrained": [arm.name for arm in arms if not arm.learns], "missing_floors": missing},
        text_metrics=_text_metrics(material, folders if own else []),
        rows=rows,
        runs=pl.DataFrame([_run(folder) for folder in folders], schema=RUNS_SCHEMA),
        trials=pl.concat([_trials(arm) for arm in arms], how="diagonal"),
        curves=pl.concat([_curves(folders, arms[0].curves), curves]),
        measures=measures,
        texts=_texts(material, folders if own else []),
    )
    folder = results_folder(profile.name, experiment.name)
    folder.mkdir(parents=True, exist_ok=True)
    metrics = json.dumps(_headline(results), indent=2, sort_keys=True)
    replace_text(folder / "metrics.json", metrics + "\n")
    save_results(folder, results)


def under_all_seeds(table: pl.DataFrame, arms: Sequence[Arm]) -> pl.DataFrame:
    """What an arm's only run stands for is written under every seed: others are paired by seed."""
    copies = [
        table.filter(arm=arm.name, seed=arm.seeds[0]).with_columns(seed=pl.lit(seed, pl.Int64))
        for arm in arms
        for seed in arm.paired_seeds
        if seed not in arm.seeds
    ]
    return pl.concat([table, *copies])


def text_metrics(material: Material, texts: list[str]) -> dict[str, float]:
    """Length, quotes and degeneration of explanations of the test activations: means."""
    sources = material.test_table[TEXT].to_list()
    lengths = [len(ids) for ids in encode(material.tokenizer, texts)]
    pairs = list(zip(texts, sources, strict=True))
    quotes = {
        "quote_share": _mean([quote_share(text) for text in texts]),
        "unpaired_marks": _mean([unpaired_marks(text) for text in texts]),
        "verbatim_4gram_share": _mean([verbatim_ngram_share(*pair) for pair in pairs]),
        "longest_common_substring": _mean([longest_common_substring(*pair) for pair in pairs]),
    }
    return quotes | degeneration(texts, lengths, material.profile.av.max_explanation_tokens)


def _text_metrics(material: Material, runs: list[RunFolder]) -> dict[str, dict[str, float]]:
    """By writer: the teacher and the warm-started AV, or each arm's first seed."""
    table = material.test_table
    found = {TEACHER: text_metrics(material, table[TEACHER].to_list())}
    if not runs:
        return found | {AV: text_metrics(material, table[AV].to_list())}
    return found | {
        arm: text_metrics(material, texts) for arm, texts in _first_texts(material, runs).items()
    }


def _first_texts(material: Material, runs: list[RunFolder]) -> dict[str, list[str]]:
    """{arm: explanations of the test activations} of the first seed of each arm."""
    found: dict[str, list[str]] = {}
    for run in runs:
        if run.identity[2] not in found:
            found[run.identity[2]] = texts_of_test(material, own_texts(run))
    return found


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _texts(material: Material, runs: list[RunFolder]) -> pl.DataFrame:
    """Source text and explanations of every test activation, in a keyed random order."""
    table = material.test_table.select(KEY, pl.col(TEXT).alias("source_text"), TEACHER, AV)
    if runs:
        columns = [pl.Series(arm, texts) for arm, texts in _first_texts(material, runs).items()]
        table = table.drop(AV).with_columns(columns)
    keys = table[KEY].to_list()
    return table[sorted(range(len(keys)), key=lambda row: keyed_seed("shown", keys[row]))]


def _tables(runs: list[RunFolder], name: str, schema: Mapping[str, Any]) -> pl.DataFrame:
    """One table of every run, as the schema has it; `name` is the attribute of its file."""
    return pl.concat(_as(run.table(getattr(run, name), list(schema)), schema) for run in runs)


def _as(table: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    return table.select(list(schema)).cast(pl.Schema(schema))


def _told(runs: list[RunFolder], fact: str) -> dict[str, str]:
    """{arm/seed: what the summary tells} of the runs whose summary does."""
    told = {"/".join(run.identity[2:]): run.summary.get(fact) for run in runs}
    return {run: what for run, what in told.items() if what}


def _facts(
    experiment: Experiment, material: Material, folders: list[RunFolder], rows: pl.DataFrame
) -> dict:
    profile = material.profile
    floors = [floor for floor in FLOORS if floor in set(rows["arm"])]
    variance, raw_variance = material.test_variance()
    digests = {run.summary["digest"] for run in folders}
    assert len(digests) == len(folders), "two runs claim the same config"
    av_run = material.av_run.summary
    return {
        "experiment": experiment.name,
        "profile": profile.name,
        "arms": experiment.arms_at(profile.name),
        "floors": floors,
        "ceilings": [floor for floor in CEILINGS if floor in floors],
        "variance": variance,
        "raw_variance": raw_variance,
        "resamples": profile.evaluation.resamples,
        "distractors": profile.evaluation.distractors,
        "layer": material.layer,
        "target": profile.target.model,
        "embedder": profile.evaluation.embedder,
        "activations_training": len(material.training_activations),
        "activations_test": material.test_table.height,
        "activations_test_unexplained": _tested(material) - material.test_table.height,
        "av_gap_nats_per_token": av_run["dev_gap"],
        "av_dev_loss": av_run["dev_loss"],
        "av_examples": av_run["examples"],
        "av_train_seconds": av_run["train_seconds"],
        "alpha": av_run["alpha"],
        "commit": _each([commit_of(run) for run in folders]),
        "device": _each([run.summary.get("device", "unknown") for run in folders]),
        "digests": material.digests(),
        "ar_parameters": {
            run.identity[2]: run.summary["ar_parameters"]
            for run in folders
            if "ar_parameters" in run.summary
        },
        "flattened": _told(folders, "flattened"),
        "stopped_early": _told(folders, "stopped"),
    }


def _tested(material: Material) -> int:
    return load_activations(material.trunk.activations, [TEST], [KEY]).height


def _each(values: list[str]) -> list[str]:
    """What the runs have in common, or all that they were made with."""
    return sorted(set(values))


def _trunk_floors(material: Material) -> tuple[pl.DataFrame, dict[str, str]]:
    """Their rows, and why some are missing."""
    file, made_of = material.trunk.floors, material.floors_of()
    rows = read_artefact(file, "floors", **made_of).with_columns(seed=pl.lit(0, pl.Int64))
    return rows, read_manifest(file, "floors").get("missing", {})


def _run(folder: RunFolder) -> dict:
    summary = folder.summary
    named = {"arm": folder.identity[2], "seed": int(folder.identity[3])}
    return named | {name: summary[name] for name in RUNS_SCHEMA.names() if name not in named}


def _trials(arm: Arm) -> pl.DataFrame:
    sweep = arm.sweep()
    if not sweep.space:
        return pl.DataFrame(schema=TRIALS_SCHEMA)
    table = trials_table(sweep.name, sweep.storage)
    done = table.filter(pl.col("state") != FAILED).height
    if done < sweep.budget:
        what = f"only {done} of {sweep.budget} trials are done"
        raise NlaError(what, where=sweep.name, remedy=f"nla sweep {arm.words}")
    tuned = [name for name in table.columns if name.startswith("params_")]
    named = table.with_columns(arm=pl.lit(arm.name)).select(*TRIALS_SCHEMA.names(), *tuned)
    return named.cast({name: TRIALS_SCHEMA[name] for name in TRIALS_SCHEMA.names()})


def _curves(folders: list[RunFolder], shown: tuple[str, ...]) -> pl.DataFrame:
    rows = [
        {
            "arm": folder.identity[2],
            "seed": int(folder.identity[3]),
            "step": step,
            "metric": name,
            "value": value,
        }
        for folder in folders
        if folder.checked(folder.metrics_file)
        for step, values in folder.metrics()
        for name, value in values.items()
        if name in shown
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
