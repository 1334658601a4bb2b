"""What MLflow's pages of an experiment show: without a saved view, a table shows no number."""

import json

STATE = {
    "orderByKey": "attributes.start_time",
    "orderByAsc": True,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "columnOrder": [],
    "columnWidths": {},
    "runsHiddenMode": "FIRST_10_RUNS",
    "viewMaximized": False,
    "runListHidden": False,
    "isAccordionReordered": False,
    "useGroupedValuesInCharts": True,
    "hideEmptyCharts": True,
    "groupBy": None,
    "groupsExpanded": {},
    "globalLineChartConfig": {
        "xAxisKey": "step",
        "lineSmoothness": 0,
        "selectedXAxisMetricKey": "",
    },
}
"""As MLflow saves a view: what is missing here it would take for empty."""
TEST = ("fve_av", "fve_neutral", "fve_untrained", "fve_teacher", "top1_av", "quote_share", "tokens")
VIEWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "arms": ("arm", ("seeds",)),
    "seeds": ("seed", ("arm", "seed")),
    "trials": ("trial", ("arm", "trial")),
}
"""Name: kind of the runs, and tags that are columns; numbers follow."""


def experiment_tags() -> dict[str, str]:
    """Tags of a new experiment: it trains models, and has saved views."""
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return kind | {f"mlflow.sharedViewState.{name}": _view(name) for name in VIEWS}


def _view(name: str) -> str:
    kind, tags = VIEWS[name]
    tuned = [f"params.`tuned.{setting}`" for setting in ("learning_rate", "weight_decay")]
    test = [f"metrics.`test/{number}`" for number in TEST]
    numbers = [*tuned, "metrics.`dev_fve`"] if kind == "trial" else test
    columns = [f"tags.`{tag}`" for tag in ("profile", *tags)] + numbers
    chosen = {"searchFilter": f"tags.kind = '{kind}'", "selectedColumns": columns}
    state = json.dumps(STATE | chosen)
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": state})
