"""A sweep with a known optimum, workers that run it, and one that is killed in a trial."""

import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

import optuna
from optuna.trial import TrialState

from common.params import Float
from common.tuning.study import Sweep
from common.tuning.sweep import Objective, run_sweep
from common.tuning.trials import slot_of

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
