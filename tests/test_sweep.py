"""The budget is exact and a kill loses nothing, with one worker or several on one sqlite file."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from common import sweep as sweep_module
from common import trials as trials_module
from common.errors import NlaError
from common.study import Float, Sweep, open_study, trials_table
from common.sweep import Objective, run_sweep, spawn_workers
from common.trials import Slots, slot_of

SPACE = {"x": Float(low=0.0, high=1.0), "lr": Float(low=1e-5, high=1e-2, log=True)}


def make_sweep(folder: Path, budget: int = 3, **changes: object) -> Sweep:
    storage = f"sqlite:///{folder}/optuna.db"
    values = {"name": "smoke/toy/control", "space": SPACE, "budget": budget, "config_digest": "c"}
    return Sweep.model_validate(values | {"storage": storage} | changes)


def peak(trial: optuna.Trial, params: dict[str, float]) -> float:
    return -((params["x"] - 0.3) ** 2)


def slow_peak(trial: optuna.Trial, params: dict[str, float]) -> float:
    time.sleep(0.1)
    return peak(trial, params)


def start_worker(sweep: Sweep, objective: Objective = slow_peak) -> ForkProcess:
    """A process of its own that works on the sweep; forked, so that its objective may be local."""
    worker = get_context("fork").Process(target=run_sweep, args=(sweep, objective))
    worker.start()
    return worker


def join(workers: list[ForkProcess]) -> list[int | None]:
    for worker in workers:
        worker.join(timeout=20)
    return [worker.exitcode for worker in workers]


def kill_in_trial(sweep: Sweep, number: int) -> float:
    """Kill a worker with -9 in the middle of a trial; the trial's value of x."""
    seen = Path(sweep.storage.removeprefix("sqlite:///")).parent / "hanging"

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        if trial.number == number:
            seen.with_suffix(".partial").write_text(str(params["x"]))
            seen.with_suffix(".partial").rename(seen)
            time.sleep(60)
        return peak(trial, params)

    worker = start_worker(sweep, objective)
    wait_until(seen.exists)
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    return float(seen.read_text())


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def done(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [t for t in study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]


def settings(study: optuna.Study) -> list[tuple[float, float]]:
    return [(t.params["x"], t.params["lr"]) for t in sorted(done(study), key=slot_of)]


@pytest.fixture(autouse=True)
def _quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "POLL_SECONDS", 0.05)


def test_a_single_worker_is_reproducible_and_a_finished_study_returns_at_once(tmp_path: Path):
    (tmp_path / "other").mkdir()
    first, second = make_sweep(tmp_path), make_sweep(tmp_path / "other")
    best = run_sweep(first, peak)
    assert best == run_sweep(second, peak)
    assert settings(open_study(first)) == settings(open_study(second))
    assert best.values == (max(t.values[0] for t in open_study(first).trials),)
    assert best.trials == 3

    assert run_sweep(first, lambda trial, params: pytest.fail("ran again")) == best
    assert len(open_study(first).trials) == 3


def test_a_larger_budget_continues_the_same_search(tmp_path: Path):
    (tmp_path / "other").mkdir()
    run_sweep(make_sweep(tmp_path, 2), peak)
    run_sweep(make_sweep(tmp_path, 4), peak)
    at_once = make_sweep(tmp_path / "other", 4)
    run_sweep(at_once, peak)
    assert settings(open_study(make_sweep(tmp_path))) == settings(open_study(at_once))


def test_three_workers_that_start_at_once_on_a_new_file_spend_the_budget_exactly(tmp_path: Path):
    sweep = make_sweep(tmp_path, 7)
    assert join([start_worker(sweep) for _ in range(3)]) == [0, 0, 0]
    study = open_study(sweep)
    assert len(done(study)) == 7
    assert len(set(settings(study))) == 7
    assert all(t.user_attrs["surplus"] for t in study.trials if t.state == TrialState.FAIL)
    assert len({t.user_attrs["owner"]["pid"] for t in done(study)}) > 1
    assert trials_table(sweep.name, sweep.storage).height == 7


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


@pytest.mark.parametrize(
    "change",
    [
        {"config_digest": "d"},
        {"space": {"x": Float(low=0, high=2)}},
        {"directions": ("maximize", "minimize")},
    ],
)
def test_another_config_under_the_same_name_is_refused(tmp_path: Path, change: dict):
    run_sweep(make_sweep(tmp_path, 1), peak)
    with pytest.raises(NlaError, match=r"another config.*optuna delete-study"):
        run_sweep(make_sweep(tmp_path, 2, **change), peak)


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


def test_a_trial_below_the_median_is_pruned_but_not_at_its_first_validation(tmp_path: Path):
    sweep = make_sweep(tmp_path, 3)
    steps = {}

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        for step in (1, 2, 3):
            steps[trial.number] = step
            trial.report(-float(trial.number), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return -float(trial.number)

    best = run_sweep(sweep, objective)
    assert steps == {0: 3, 1: 3, 2: 2}
    assert (best.number, best.trials) == (0, 3)
    table = trials_table(sweep.name, sweep.storage)
    assert table["state"].to_list() == ["complete", "complete", "pruned"]
    assert table["front"].to_list() == [True, False, False]


def test_two_directions_give_a_front_and_the_best_by_the_first(tmp_path: Path):
    sweep = make_sweep(tmp_path, 3, directions=("maximize", "minimize"))
    outcomes = [(0.5, 0.2), (0.7, 0.6), (0.4, 0.3)]
    best = run_sweep(sweep, lambda trial, params: outcomes[trial.number])
    assert best.values == (0.7, 0.6)
    table = trials_table(sweep.name, sweep.storage)
    assert table["front"].to_list() == [True, True, False]
    assert table["value_1"].to_list() == [0.2, 0.6, 0.3]


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


def test_an_unreachable_storage_is_one_line_without_the_password():
    url = "postgresql+psycopg://user:secret@127.0.0.1:9/none?connect_timeout=1"
    sweep = Sweep(name="a/b/c", space=SPACE, budget=1, config_digest="c", storage=url)
    with pytest.raises(NlaError, match="cannot open the Optuna storage") as caught:
        open_study(sweep)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_workers_are_spawned_and_an_error_of_one_is_reported(tmp_path: Path):
    script = "import sys, tempfile; tempfile.mkstemp(dir=sys.argv[1])"
    spawn_workers([sys.executable, "-c", script, str(tmp_path)], count=2)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(NlaError, match=r"2 of 2 workers failed \(exit status 3\)"):
        spawn_workers([sys.executable, "-c", "raise SystemExit(3)"], count=2)


def test_an_interrupted_parent_takes_its_workers_along(tmp_path: Path):
    script = (
        "import os, sys, time; open(f'{sys.argv[1]}/{os.getpid()}', 'w').close(); time.sleep(60)"
    )

    def interrupt() -> None:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        spawn_workers([sys.executable, "-c", script, str(tmp_path)], count=2)
    assert not any(psutil.pid_exists(int(file.name)) for file in tmp_path.iterdir())
