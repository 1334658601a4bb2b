"""Small run folders, and what MLflow shows of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from common.runs import MadeWith, RunFolder
from common.tracking.note import State
from common.tracking.tracker import Tracker, open_run

CODE = {"trained": "aaa", "tested": "bbb"}
TRAINED = {
    "arm": {"blocks": None, "layers": [1, 2]},
    "tuned": {"learning_rate": 1e-3, "schedule": "wsd"},
    "trainer": {"precision": "32-true"},
    "data": {"corpus": "c0ffee"},
    "study": "smoke/x/control/123",
}
TESTED = {"trainer": {"precision": "32-true"}, "evaluation": {"distractors": 3}, "samples": 4}
MADE = MadeWith(TRAINED, TESTED, CODE, "nla run x --arm control --profile smoke")


def made_with(**trained: Any) -> MadeWith:
    """As `MADE`, trained otherwise."""
    return MADE._replace(trained=TRAINED | trained)


def begun(
    root: Path, experiment: str, run: str = "control/0", made: MadeWith | None = None
) -> RunFolder:
    """A run folder `<root>/smoke/<experiment>/<run>` with its config; a seed is part of that."""
    folder = RunFolder(root / "smoke" / experiment / run)
    seed = folder.identity[3]
    own = {"seed": int(seed)} if seed.isdigit() else {}
    made = made or MADE
    folder.begin(made._replace(trained={**made.trained, **own}))
    return folder


def train(folder: RunFolder, state: State = "FINISHED", **summary: Any) -> RunFolder:
    """A run of three steps, mirrored live."""
    tracker = open_run(folder)
    for step in range(3):
        tracker.log({"loss": 1 / (step + 1), "dev_fve": 0.1 * step}, step)
        folder.log({"loss": 1 / (step + 1), "dev_fve": 0.1 * step}, step)
    folder.samples_file.write_text('{"key": "d:1", "explanation": "a cat"}\n{"key": "d:2"}\n')
    (folder.path / "figures").mkdir(exist_ok=True)
    (folder.path / "figures" / "loss.svg").write_text("<svg/>")
    return end(folder, tracker, state, **summary)


def end(folder: RunFolder, tracker: Tracker, state: State, **summary: Any) -> RunFolder:
    """With a test, of a run that was not broken off."""
    if state == "FINISHED":
        write_test(folder)
        folder.finish({"dev_fve": 0.2, "variance": 4.0, "cost": {"tokens": 12}} | summary)
    tracker.finish(state)
    return folder


def write_test(folder: RunFolder, error: float = 1.0) -> None:
    """Write rows and measures of three activations; one explanation was not transformed."""
    rows({"av": (error, error, error), "teacher": (2.0, 4.0, None)}).write_parquet(folder.rows_file)
    lengths = {"key": ["a", "b", "c"], "cluster": ["a", "a", "b"], "value": [3.0, 5.0, 7.0]}
    pl.DataFrame(lengths).with_columns(measure=pl.lit("tokens")).write_parquet(folder.measures_file)


def rows(errors: Mapping[str, tuple[float | None, ...]], **named: Any) -> pl.DataFrame:
    """Squared errors by source: rows of the whole text, and one that is shuffled."""
    table = [
        (source, transform, error is not None, error, rank if transform == "original" else None)
        for source, found in errors.items()
        for rank, error in enumerate(found, start=1)
        for transform in ("original", "shuffled")
    ]
    columns = ["source", "transform", "applied", "squared_error", "retrieval_rank"]
    frame = pl.DataFrame(table, schema=columns, orient="row")
    named = {"arm": "control", "seed": 0} | named
    return frame.with_columns(pl.lit(value).alias(name) for name, value in named.items())


def runs(client: Any, experiment: str, **tags: str) -> list[Any]:
    """All runs of an experiment with these tags, oldest first."""
    found = client.get_experiment_by_name(experiment)
    every = client.search_runs([found.experiment_id]) if found else []
    named = [run for run in every if tags.items() <= run.data.tags.items()]
    return sorted(named, key=lambda run: run.info.start_time)


def shown(client: Any, run: Any) -> dict[str, Any]:
    """All that can be seen of a run, but ids and the time when a metric arrived."""
    run_id = run.info.run_id
    history = {
        name: [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    artifacts = [file.path for file in client.list_artifacts(run_id)]
    figures = [file.path for file in client.list_artifacts(run_id, "figures")]
    inputs = [(i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs]
    info = (run.info.run_name, run.info.status, run.info.start_time, run.info.end_time)
    return {
        "history": history,
        "params": run.data.params,
        "tags": run.data.tags,
        "artifacts": sorted(artifacts + figures),
        "inputs": inputs,
        "info": info,
    }
