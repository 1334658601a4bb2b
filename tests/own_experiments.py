"""Experiment folders with a params.yaml of the test's own, in a repository of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


def own_experiments(
    repository: Path, params: Mapping[str, Any], **others: Mapping[str, Any]
) -> None:
    """`ar_small` with these params, and others by name; each has the experiment.py of ours."""
    place = repository / "experiments"
    if place.is_symlink():
        place.unlink()
    for name, values in {"ar_small": params, **others}.items():
        folder = place / name
        folder.mkdir(parents=True)
        (folder / "experiment.py").symlink_to(ROOT / "experiments" / name / "experiment.py")
        whole = {"only": {}, "seeds": {}, "search": {}} | values
        (folder / "params.yaml").write_text(yaml.safe_dump(whole, sort_keys=False))
