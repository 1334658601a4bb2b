"""A sweep shared over a PostgreSQL server: a private one, started here and removed afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from common.params import Float
from common.tuning.study import Sweep, open_study
from common.tuning.sweep import run_sweep


def _binary(name: str) -> str:
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(installed[-1]) if installed else shutil.which(name)
    if not found:
        pytest.skip(f"PostgreSQL is not installed (no {name})")
    return found


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("root, and no user `postgres` to run the server as")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """URL of an empty database that listens on a socket in a folder of its own."""
    pytest.importorskip("psycopg")
    initdb, pg_ctl, user = _binary("initdb"), _binary("pg_ctl"), _unprivileged_user()
    folder = tempfile.mkdtemp(prefix="nla-postgres-")
    if user:
        shutil.chown(folder, user, user)

    def run(*command: str) -> None:
        done = subprocess.run(
            command, cwd=folder, user=user, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    data = ("-D", f"{folder}/data")
    try:
        run(initdb, *data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8")
        run(pg_ctl, *data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        run(pg_ctl, *data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def test_two_workers_share_a_budget_on_postgres_and_a_killed_trial_runs_again(
    server: str, tmp_path: Path
):
    space = {"x": Float(low=0.0, high=1.0), "lr": Float(low=1e-5, high=1e-2, log=True)}
    sweep = Sweep(name="smoke/toy/arm", space=space, budget=5, config_digest="c", storage=server)
    hanging = tmp_path / "hanging"

    def objective(trial: optuna.Trial, params: dict[str, float]) -> float:
        if trial.number == 1:
            hanging.write_text(str(os.getpid()))
            time.sleep(60)
        time.sleep(0.1)
        return params["x"]

    context = get_context("fork")
    workers = [context.Process(target=run_sweep, args=(sweep, objective)) for _ in range(2)]
    for worker in workers:
        worker.start()
    end = time.monotonic() + 20
    while not (hanging.exists() and hanging.read_text()):
        assert time.monotonic() < end, "no worker came to trial 1"
        time.sleep(0.05)
    os.kill(int(hanging.read_text()), signal.SIGKILL)
    for worker in workers:
        worker.join(timeout=20)
    assert sorted(worker.exitcode or 0 for worker in workers) == [-signal.SIGKILL, 0]

    trials = open_study(sweep).trials
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    (retry,) = [trial for trial in complete if "retry_of" in trial.user_attrs]
    assert len(complete) == 5
    assert len({trial.params["x"] for trial in complete}) == 5
    assert retry.params == trials[1].params
