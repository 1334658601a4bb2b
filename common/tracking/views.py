"""What MLflow's pages of an experiment show: without a saved view, a table shows no number."""

import json

STATE = {
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
TEST = (
    "beyond_1_av",
    "beyond_1_neutral",
    "fve_av",
    "fve_neutral",
    "fve_teacher",
    "top1_av",
    "suffix_1",
    "content",
    "tokens",
)
TUNED = ("learning_rate", "weight_decay")
BY_TEST, BY_DEV = "metrics.`test/beyond_1_av`", "metrics.`dev_fve`"
VIEWS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "arms": ("arm", ("seeds",), BY_TEST),
    "seeds": ("seed", ("arm", "seed"), BY_TEST),
    "trials": ("trial", ("arm", "trial"), BY_DEV),
}
"""Name: kind of the runs, tags that are columns, and what has the best first. Sorted by time, runs
would stand within the arm's."""


def experiment_tags() -> dict[str, str]:
    """Tags of a new experiment: it trains models, and has saved views."""
    kind = {"mlflow.experimentKind": "custom_model_development"}
    return kind | {f"mlflow.sharedViewState.{name}": _view(name) for name in VIEWS}


def _view(name: str) -> str:
    kind, tags, best = VIEWS[name]
    test = [f"metrics.`test/{number}`" for number in TEST]
    trial = [*(f"params.`tuned.{setting}`" for setting in TUNED), BY_DEV]
    chosen = {
        "searchFilter": f"tags.kind = '{kind}'",
        "orderByKey": best,
        "orderByAsc": False,
        "selectedColumns": [f"tags.`{tag}`" for tag in ("profile", *tags)]
        + (trial if best == BY_DEV else test),
    }
    state = json.dumps(STATE | chosen)
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": state})
