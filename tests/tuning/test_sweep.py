"""The budget is exact, with one worker or several on one sqlite file."""

import os
import signal
import sys
import threading
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from common.errors import NlaError
from common.params import Float
from common.tuning.study import Sweep, known_best, open_study, trials_table
from common.tuning.sweep import run_sweep, spawn_workers
from tests.tuning.sweeps import (
    SPACE,
    done,
    join,
    make_sweep,
    peak,
    settings,
    start_worker,
    wait_until,
)


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


def test_the_best_so_far_is_known_where_there_is_a_study(tmp_path: Path):
    sweep = make_sweep(tmp_path, 2)
    assert known_best(sweep) is None
    assert [*tmp_path.iterdir()] == [], "to look is not to make"
    assert known_best(sweep.replace(storage="postgresql+psycopg://nobody@localhost:1/no")) is None
    best = run_sweep(sweep, peak)
    assert known_best(sweep) == best


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


def test_each_worker_sees_one_gpu_in_turn(tmp_path: Path):
    script = "import os, tempfile; tempfile.mkstemp(os.environ['CUDA_VISIBLE_DEVICES'], dir='.')"
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {script}"]
    spawn_workers(command, count=3, gpus=2)
    assert sorted(file.name[-1] for file in tmp_path.iterdir()) == ["0", "0", "1"]


def test_an_interrupted_parent_takes_its_workers_along(tmp_path: Path):
    script = (
        "import os, sys, time; open(f'{sys.argv[1]}/{os.getpid()}', 'w').close(); time.sleep(60)"
    )

    def interrupt() -> None:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts its background jobs with SIGINT ignored, and these tests may be such a job.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            spawn_workers([sys.executable, "-c", script, str(tmp_path)], count=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not any(psutil.pid_exists(int(file.name)) for file in tmp_path.iterdir())
