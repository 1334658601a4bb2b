"""Golden loss curves: `python -m tests.training.golden` writes them after an intended change."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from common.config import TargetConfig
from common.runs import RunFolder
from common.target.load import prepare_target
from tests.training.runs import metrics, train

GOLDEN = Path(__file__).parents[1] / "golden"
CURVES = {"ar": ("train_loss", "dev_fve"), "av": ("train_loss", "dev_gap")}


def curves(kind: str) -> dict[str, list[float]]:
    """Seeded training of the tiny model on CPU in fp32: every value of some metrics, in order."""
    with TemporaryDirectory() as place:
        target, folder = (
            Path(place) / "target",
            RunFolder(Path(place) / "smoke/golden" / kind / "0"),
        )
        prepare_target(TargetConfig(model="tiny"), target)
        train(kind, target, folder)
        return {name: [round(v, 6) for v in metrics(folder, name)] for name in CURVES[kind]}


def golden_file(kind: str) -> Path:
    return GOLDEN / f"{kind}_curves.json"


if __name__ == "__main__":
    for kind in CURVES:
        golden_file(kind).write_text(json.dumps(curves(kind), indent=1) + "\n")
