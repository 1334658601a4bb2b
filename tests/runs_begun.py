"""A run that has begun, and what it is made with."""

from pathlib import Path

from common.runs import MadeWith, RunFolder

TRAINED = {"ar": {"learning_rate": 1e-05, "layers": (1, 2)}, "place": Path("data/x"), "arm": None}
CODE = {"trained": "c0de", "tested": "7e57"}
MADE = MadeWith(TRAINED, {"distractors": 3}, CODE, "nla run mine")
OTHER = MADE._replace(trained=TRAINED | {"arm": "other"})


def begun(place: Path) -> RunFolder:
    """Below a folder of the test's own."""
    run = RunFolder(place / "smoke" / "ar_small" / "control" / "0")
    run.begin(MADE)
    return run
