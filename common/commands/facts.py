"""Facts about an experiment's results beside the tables: scale, data, provenance."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from common.arms.arm import Arm
from common.arms.evaluation import Collected
from common.evaluation.last_tokens import COUNTS
from common.experiment import Experiment
from common.runs import RunFolder
from common.schema import NEAREST_TEXT, NEXT_TOKENS_TEXT
from common.tracking.note import commit_of

LAST_BLOCKS = [f"own_blocks_last_{count}{linear}" for count in COUNTS for linear in ("", "_linear")]
FLOORS = [
    "mean_direction",
    "tfidf_ridge",
    "embedding_ridge",
    "look_up",
    "nearest_words",
    NEAREST_TEXT,
    NEXT_TOKENS_TEXT,
    "next_tokens",
    "last_token_few",
    "last_token",
    *LAST_BLOCKS,
    "own_blocks",
]
CEILINGS = ["own_blocks"]


def facts_of(
    experiment: Experiment,
    arms: Sequence[Arm],
    runs: list[tuple[Arm, RunFolder]],
    evaluated: Sequence[Collected],
    rows: pl.DataFrame,
) -> dict[str, Any]:
    """All facts of the results; those on reconstructions only where there are any."""
    profile = arms[0].profile
    folders = [run for _, run in runs]
    digests = {run.summary["digest"] for run in folders}
    assert len(digests) == len(folders), "two runs claim the same config"
    first = arms[0].needs(arms[0].seeds[0])
    found = {
        "experiment": experiment.name,
        "profile": profile.name,
        "arms": [arm.label for arm in arms],
        "resamples": profile.evaluation.resamples,
        "untrained": [arm.label for arm in arms if not arm.learns],
        "taken_over": {a.label: f"{a.plan.experiment}/{a.name}" for a in arms if a.plan.label},
        "commit": _each([commit_of(run) for run in folders]),
        "device": _each([run.summary.get("device", "unknown") for run in folders]),
        "digests": {need.name: need.digest() for need in first},
        "ar_parameters": _by_arm(runs, "ar_parameters"),
        "flattened": _by_run(runs, "flattened"),
        "stopped_early": _by_run(runs, "stopped"),
        "adopted": _adopted(folders),
    }
    for one in evaluated:
        found |= one.facts
    return found | (_of_reconstructions(arms, rows) if rows.height else {"floors": []})


def _of_reconstructions(arms: Sequence[Arm], rows: pl.DataFrame) -> dict[str, Any]:
    arm = arms[0]
    trunk = arm.trunk(arm.seeds[0])
    tests, profile, av_run = arm.test_set(arm.seeds[0]), arm.profile, trunk.av_run.summary
    floors = [floor for floor in FLOORS if floor in set(rows["arm"])]
    _, raw_variance = tests.variances()
    return {
        "floors": floors,
        "ceilings": [floor for floor in CEILINGS if floor in floors],
        **tests.denominators,
        "raw_variance": raw_variance,
        "distractors": profile.evaluation.distractors,
        "layer": trunk.layer,
        "d_model": len(trunk.mean),
        "target": profile.target.model,
        "embedder": profile.evaluation.embedder,
        "activations_training": len(trunk.training_activations),
        "activations_test": tests.table.height,
        "activations_test_unexplained": tests.unexplained,
        "pairs": len({arm.pair_of(seed) for arm in arms for seed in arm.paired_seeds}),
        "av_gap_nats_per_token": av_run["dev_gap"],
        "av_dev_loss": av_run["dev_loss"],
        "av_examples": av_run["examples"],
        "av_train_seconds": av_run["train_seconds"],
        "alpha": av_run["alpha"],
    }


def _by_arm(runs: list[tuple[Arm, RunFolder]], fact: str) -> dict[str, Any]:
    """{arm: the fact} of the arms whose summaries hold it."""
    found = {arm.label: run.summary.get(fact) for arm, run in runs}
    return {arm: value for arm, value in found.items() if value is not None}


def _by_run(runs: list[tuple[Arm, RunFolder]], fact: str) -> dict[str, str]:
    """{arm/seed: the fact} of the runs whose summaries hold it."""
    found = {f"{arm.label}/{run.seed}": run.summary.get(fact) for arm, run in runs}
    return {run: value for run, value in found.items() if value}


def _adopted(runs: list[RunFolder]) -> list[dict[str, str]]:
    """Each change of code through which runs were kept, once."""
    notes = {
        (note["commit"], note["reason"]): {"commit": note["commit"], "reason": note["reason"]}
        for run in runs
        for note in run.adopted
    }
    return [notes[key] for key in sorted(notes)]


def _each(values: list[str]) -> list[str]:
    """The different values of the runs, each once."""
    return sorted(set(values))
