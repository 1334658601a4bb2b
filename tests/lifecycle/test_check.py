"""Whether a run is one that would be made today."""

from pathlib import Path

import pytest

from common.arms.reconstructor import warm_start_ar
from common.arms.verbalizer import warm_start_av
from common.errors import NlaError
from common.lifecycle.check import check_current, check_run
from common.lifecycle.identity import code_of, command
from common.lifecycle.make import make_run
from common.lifecycle.tune import sweep_of
from common.profile import Profile
from common.trunk.choice import choose_trunk
from common.tuning.study import Best
from common.tuning.sweep import run_sweep
from tests.arms.made import TUNED, arm_named

pytestmark = pytest.mark.usefixtures("copied_warm")
NAME = "ar_small/bag_of_words"


def test_a_run_of_another_setting_than_the_studys_best_is_refused(two_steps: Profile):
    """As after trials were raised by hand: nothing else of the run's settings has changed."""
    storage = two_steps.tuning.replace(trials=1, storage="sqlite:///other.db")
    one = arm_named(NAME, two_steps.replace(tuning=storage))
    best = run_sweep(sweep_of(one), lambda trial, params: 0.0)
    make_run(one, 0, best)
    check_current(one, 0)
    worse = Best({name: value * 1.1 for name, value in best.params.items()}, (0.0,), 1, 1)
    make_run(one, 0, worse)
    with pytest.raises(NlaError, match="a run of other tuned than today's"):
        check_current(one, 0)
    Path("other.db").unlink()
    check_current(one, 0)


def test_only_who_asks_for_the_code_is_told_of_it(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = arm_named(NAME, two_steps)
    folder = make_run(one, 0, TUNED)
    monkeypatch.setattr("common.lifecycle.identity.code_digest", lambda *_, **__: "newer")
    assert check_run(one, 0).path == folder.path
    with pytest.raises(NlaError, match="a run of other code than today's"):
        check_current(one, 0)


@pytest.mark.parametrize("check", [check_run, check_current])
def test_a_run_that_lacks_anything_is_refused_with_what_makes_it(two_steps: Profile, check: object):
    assert callable(check)
    one = arm_named(NAME, two_steps)
    remedy = "nla run ar_small --arm bag_of_words --profile smoke"
    with pytest.raises(NlaError, match=rf"has not been made \[runs/.*/0\]: {remedy}"):
        check(one, 0)
    folder = make_run(one, 0, TUNED)
    check(one, 0)
    table = folder.rows_file.read_bytes()
    folder.rows_file.unlink()
    with pytest.raises(NlaError, match=rf"rows.parquet lost since .*{remedy}"):
        check(one, 0)
    folder.rows_file.write_bytes(table)
    folder.summary_file.unlink()
    with pytest.raises(NlaError, match=rf"unfinished run .*{remedy}"):
        check(one, 0)


def test_the_test_counts_where_there_is_one(two_steps: Profile):
    one = arm_named(NAME, two_steps)
    code = code_of(one)
    assert code["trained"] != code["tested"]
    warm = code_of(warm_start_ar(one.plan.trunk))
    assert warm["trained"] == warm["tested"]


def test_the_command_that_makes_a_run(two_steps: Profile):
    own = choose_trunk(two_steps)
    other = choose_trunk(two_steps, "mine/wide", {"av": {"slots": 2}})
    assert command(warm_start_av(own)) == "dvc repro av"
    assert command(warm_start_ar(own)) == "dvc repro ar"
    assert command(warm_start_ar(other)) == "dvc repro experiments/mine/dvc.yaml:mine-wide-ar"
    assert command(arm_named(NAME, two_steps)) == (
        "nla run ar_small --arm bag_of_words --profile smoke"
    )
