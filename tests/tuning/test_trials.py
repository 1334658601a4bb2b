"""A trial that is killed, orphaned or fails is run again, once, and nothing else is."""

import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from common.errors import NlaError
from common.tuning import trials as trials_module
from common.tuning.study import open_study, trials_table
from common.tuning.sweep import run_sweep
from common.tuning.trials import Lease, Slots, Watch, _start_of, slot_of
from tests.tuning.sweeps import (
    done,
    join,
    kill_in_trial,
    make_sweep,
    peak,
    settings,
    start_worker,
    wait_until,
)


def test_a_trial_killed_with_minus_nine_runs_again_and_nothing_else_does(tmp_path: Path):
    (tmp_path / "other").mkdir()
    sweep = make_sweep(tmp_path, 4)
    killed = kill_in_trial(sweep, 1)
    ran = []

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        ran.append(params["x"])
        return peak(trial, params)

    run_sweep(sweep, objective)
    study = open_study(sweep)
    assert ran[0] == killed
    assert [slot_of(trial) for trial in study.trials] == [0, 1, 1, 3, 4]
    assert [trial.state.name[0] for trial in study.trials] == ["C", "F", "C", "C", "C"]

    uninterrupted = make_sweep(tmp_path / "other", 4)
    run_sweep(uninterrupted, peak)
    assert settings(study) == settings(open_study(uninterrupted))


def test_two_who_resume_at_once_retry_a_killed_trial_only_once(tmp_path: Path):
    sweep = make_sweep(tmp_path, 3)
    killed = kill_in_trial(sweep, 0)
    assert join([start_worker(sweep) for _ in range(2)]) == [0, 0]
    study = open_study(sweep)
    assert len(done(study)) == 3
    assert len(set(settings(study))) == 3
    assert settings(study)[0][0] == killed


def test_a_trial_killed_before_it_drew_its_setting_draws_the_same_one(tmp_path: Path):
    (tmp_path / "other").mkdir()
    sweep, uninterrupted = make_sweep(tmp_path), make_sweep(tmp_path / "other")
    study = open_study(sweep)
    study.tell(study.ask(), state=TrialState.FAIL)
    run_sweep(sweep, peak)
    run_sweep(uninterrupted, peak)
    assert settings(study) == settings(open_study(uninterrupted))


def test_a_retry_that_was_queued_twice_runs_once(tmp_path: Path):
    sweep = make_sweep(tmp_path, 2)
    study = open_study(sweep)
    study.tell(study.ask(), state=TrialState.FAIL)
    for _ in range(2):
        study.enqueue_trial({"x": 0.5, "lr": 1e-3}, user_attrs={"retry_of": 0})
    run_sweep(sweep, peak)
    assert settings(study)[0] == (0.5, 1e-3)
    assert [t.number for t in study.trials if t.user_attrs.get("surplus")] == [2]
    assert len(done(study)) == 2


def test_a_trial_of_another_machine_is_waited_for_until_its_heart_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sweep = make_sweep(tmp_path, 1)
    study = open_study(sweep)
    trial = study.ask()
    trial.suggest_float("x", 0.0, 1.0)
    trial.set_user_attr("owner", {"machine": "elsewhere", "pid": 1, "started": 0.0})
    monkeypatch.setattr(trials_module, "GRACE_SECONDS", 0.5)
    start = time.monotonic()
    best = run_sweep(sweep, peak)
    assert time.monotonic() - start > 0.5
    assert best.number == 1
    assert best.params["x"] == trial.params["x"]


def with_a_live_trial(folder: Path) -> optuna.Study:
    """A study with a trial that this process runs."""
    study = open_study(make_sweep(folder, 1))
    Lease(study.ask())
    return study


def states(study: optuna.Study) -> list[str]:
    Watch().fail_dead(study, study.get_trials(states=(TrialState.RUNNING,)))
    return [trial.state.name for trial in study.trials]


@pytest.mark.parametrize("seconds", [-3600, -30, 30, 3600])
def test_a_clock_that_is_set_kills_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int
):
    """On Linux, where the time of the boot moves along with the clock."""
    study = with_a_live_trial(tmp_path)
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + seconds)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    assert states(study) == ["RUNNING"]


@pytest.mark.parametrize("linux", [True, False])
def test_a_number_that_another_process_has_now_is_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool
):
    if not linux:
        monkeypatch.setattr(trials_module, "BOOT", tmp_path / "no-proc")
    study = with_a_live_trial(tmp_path)
    assert states(study) == ["RUNNING"]
    (trial,) = study.trials
    trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, 0)
    owner = trial.user_attrs["owner"]
    study._storage.set_trial_user_attr(trial_id, "owner", owner | {"started": owner["started"] - 1})
    assert states(study) == ["FAIL"]


@pytest.mark.parametrize("linux", [True, False])
def test_a_process_that_has_ended_is_known_by_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: bool
):
    """Also while its parent has not asked for its status yet."""
    if not linux:
        monkeypatch.setattr(trials_module, "BOOT", tmp_path / "no-proc")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert _start_of(child.pid)
    child.kill()
    wait_until(lambda: _start_of(child.pid) is None)
    child.wait()
    assert _start_of(child.pid) is None


def test_a_machine_of_the_same_name_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Of clones that share a storage, neither knows the other's processes."""
    study = with_a_live_trial(tmp_path)
    (tmp_path / "boot_id").write_text("of another boot")
    monkeypatch.setattr(trials_module, "BOOT", tmp_path / "boot_id")
    monkeypatch.setattr(trials_module, "_start_of", lambda pid: None)
    assert states(study) == ["RUNNING"]


def test_the_heart_of_a_running_trial_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trials_module, "HEARTBEAT_SECONDS", 0.02)
    sweep = make_sweep(tmp_path, 1)
    run_sweep(sweep, lambda trial, params: time.sleep(0.5) or 1.0)
    assert open_study(sweep).trials[0].user_attrs["heartbeat"] > 2


def test_a_result_that_comes_after_the_trial_was_given_away_is_dropped(tmp_path: Path):
    sweep = make_sweep(tmp_path, 1)
    other = open_study(sweep)

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        if trial.number == 0:
            other.tell(0, state=TrialState.FAIL)
        return float(trial.number)

    assert run_sweep(sweep, objective).values == (1.0,)


def test_a_setting_that_raises_is_tried_once_more_and_then_replaced(tmp_path: Path):
    sweep = make_sweep(tmp_path, 2)
    tried = []

    def fails_at_first(trial: optuna.Trial, params: dict[str, float]) -> float:
        tried.append(params["x"])
        return float("nan") if len(tried) <= 2 else peak(trial, params)

    for number in (0, 1):
        with pytest.raises(NlaError, match=f"trial {number}: objective is not finite"):
            run_sweep(sweep, fails_at_first)
    run_sweep(sweep, fails_at_first)
    assert tried[0] == tried[1]
    assert len(set(tried)) == 3
    table = trials_table(sweep.name, sweep.storage)
    assert table["state"].to_list() == ["fail", "fail", "complete", "complete"]
    assert "not finite" in table["user_error"][0]


def test_an_interrupted_trial_runs_again_as_often_as_it_takes(tmp_path: Path):
    sweep = make_sweep(tmp_path, 1)
    tried = []

    def interrupted(trial: optuna.Trial, params: dict[str, float]) -> float:
        tried.append(params["x"])
        if len(tried) < 4:
            raise KeyboardInterrupt
        return 1.0

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_sweep(sweep, interrupted)
    assert run_sweep(sweep, interrupted).number == 3
    assert len(set(tried)) == 1


def test_a_trial_beyond_the_budget_never_runs_even_if_its_process_died(tmp_path: Path):
    sweep = make_sweep(tmp_path, 1)
    study = open_study(sweep)
    for _ in range(2):
        study.ask()
    study.tell(1, state=TrialState.FAIL)
    slots = Slots(study.trials, budget=1)
    assert slots.lost() == []
    assert slots.may_run(0)
    assert not slots.may_run(1)
    assert not slots.room
