from pathlib import Path

import polars as pl
import pytest

from common.arms.policy import PolicyArm
from common.commands.collect import under_all_seeds
from common.experiment import load_experiment
from common.material import Material
from common.profile import Profile


def test_an_arm_in_which_nothing_learns_is_run_once_for_all_seeds(
    smoke: Profile, material: Material, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(Path(__file__).parent.parent)
    experiment = load_experiment("baseline")
    control, start = (
        PolicyArm(experiment, arm, smoke, material) for arm in ("control", "warm_start")
    )
    assert control.seeds == smoke.tuning.seeds == start.paired_seeds == (0, 1)
    assert start.seeds == (0,)
    table = pl.DataFrame({"arm": ["control"] * 2 + ["warm_start"], "seed": [0, 1, 0]})
    found = under_all_seeds(table.with_row_index("value"), [control, start])
    assert found.select("arm", "seed", "value").rows() == [
        ("control", 0, 0),
        ("control", 1, 1),
        ("warm_start", 0, 2),
        ("warm_start", 1, 2),
    ]
