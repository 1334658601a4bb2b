"""The run that all runs of an arm nest under: settings that they share, and their means."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from common.runs import RunFolder
from common.tracking.client import connect, experiment_called, runs_tagged
from common.tracking.identity import Identity, identity_of
from common.tracking.note import now

MEANS = ("test/", "total/", "dev_")
"""Beginnings of the metrics that means are taken of: of a step of the training they say nothing."""
NO_SETTING = "seed"
SOURCE = ("mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")
REPLACED = "replaced by"
"""Tag of the run of an earlier training, whose folder another one has taken."""


def arm_run(client: Any, experiment_id: str, arm: Identity) -> str:
    """Found or made; of two made at once the older one stays."""
    if not (found := runs_tagged(client, experiment_id, arm.tags)):
        created = _created(client, experiment_id, arm.tags, arm.name)
        found = runs_tagged(client, experiment_id, arm.tags)
        if found[0].info.run_id != created:
            client.delete_run(created)
    return found[0].info.run_id


def gather(client: Any, experiment_id: str, run: Identity) -> None:
    """Bring the arm of a run that has finished up to date.

    Params are the settings that its runs share, metrics the means over those with the settings
    of the last; the tag `seeds` names these.
    """
    arm = run.parent
    assert arm, "only runs of an arm have means"
    tags = {**arm.tags, "kind": run.kind, "state": "finished"}
    runs = [r for r in runs_tagged(client, experiment_id, tags) if REPLACED not in r.data.tags]
    last = max(runs, key=lambda each: each.info.end_time)
    alike = [each for each in runs if _settings(each) == _settings(last)]
    parent = client.get_run(arm_run(client, experiment_id, arm))
    params = _shared(alike)
    if parent.data.params not in ({}, params):
        parent = _made_anew(client, parent, arm)
    known = parent.data.metrics
    means = {name: mean for name, mean in _means(alike).items() if known.get(name) != mean}
    _log(client, parent.info.run_id, means, params)
    told = {name: last.data.tags[name] for name in SOURCE if name in last.data.tags}
    told["seeds"] = ", ".join(sorted(each.data.tags["seed"] for each in alike))
    for name, value in told.items():
        client.set_tag(parent.info.run_id, name, value)


def show_sweep(folder: RunFolder, facts: Mapping[str, Any], trials: str) -> None:
    """Tell what the sweep has found that a run belongs to: numbers, and all trials as CSV."""
    client, arm = connect(), identity_of(folder).parent
    assert arm, "what is tuned is an arm"
    run_id = arm_run(client, experiment_called(client, arm.experiment), arm)
    _log(client, run_id, {f"tuning/{name}": float(value) for name, value in facts.items()})
    client.log_text(run_id, trials, "trials.csv")


def _settings(run: Any) -> str:
    return run.data.tags["nla.settings"]


def _shared(runs: Sequence[Any]) -> dict[str, str]:
    first, *others = (run.data.params for run in runs)
    return {
        name: value
        for name, value in first.items()
        if name != NO_SETTING and all(other.get(name) == value for other in others)
    }


def _means(runs: Sequence[Any]) -> dict[str, float]:
    """Of the metrics that all runs have."""
    first, *others = (run.data.metrics for run in runs)
    shared = [
        name for name in first if name.startswith(MEANS) and all(name in other for other in others)
    ]
    return {name: sum(run.data.metrics[name] for run in runs) / len(runs) for name in shared}


def _made_anew(client: Any, parent: Any, arm: Identity) -> Any:
    """MLflow never changes a param: another run takes over the runs and what tuning has found."""
    experiment_id, old = parent.info.experiment_id, parent.info.run_id
    run_id = _created(client, experiment_id, arm.tags, arm.name)
    kept = {n: v for n, v in parent.data.metrics.items() if n.startswith("tuning/")}
    _log(client, run_id, kept)
    with tempfile.TemporaryDirectory() as place:
        for file in client.list_artifacts(old):
            client.log_artifact(run_id, client.download_artifacts(old, file.path, place))
    for child in runs_tagged(client, experiment_id, {"mlflow.parentRunId": old}):
        client.set_tag(child.info.run_id, "mlflow.parentRunId", run_id)
    client.delete_run(old)
    return client.get_run(run_id)


def _created(client: Any, experiment_id: str, tags: Mapping[str, str], name: str) -> str:
    run_id = client.create_run(experiment_id, now(), tags, name).info.run_id
    client.set_terminated(run_id)
    return run_id


def _log(
    client: Any, run_id: str, metrics: Mapping[str, float], params: Mapping[str, str] | None = None
) -> None:
    from mlflow.entities import Metric, Param

    at = now()
    client.log_batch(run_id, metrics=[Metric(*one, at, 0) for one in metrics.items()])
    every = [Param(*one) for one in (params or {}).items()]
    for start in range(0, len(every), 100):
        client.log_batch(run_id, params=every[start : start + 100])
