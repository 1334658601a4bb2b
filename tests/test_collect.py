from pathlib import Path

import polars as pl
import pytest

from common.arms.policy import PolicyArm
from common.commands.collect import _trunk_floors, under_all_seeds
from common.commands.trunk import run_stage
from common.data.batches import Example
from common.experiment import load_experiment
from common.material import Material
from common.paths import Trunk
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


def test_why_a_floor_is_missing_is_kept_beside_the_others(
    smoke: Profile, copied_trunk: Trunk, monkeypatch: pytest.MonkeyPatch
):
    keys = [example.key for example in Material(smoke).ar_examples()]
    distinct = [Example(key, f"word{number}") for number, key in enumerate(keys)]
    monkeypatch.setattr(Material, "ar_examples", lambda _: distinct)
    run_stage("floors", smoke)
    rows, missing = _trunk_floors(Material(smoke))
    assert set(rows["arm"]) == {"mean_direction", "embedding_ridge", "own_blocks"}
    assert missing == {"tfidf_ridge": f"no word stands in two of the {len(keys)} texts"}
