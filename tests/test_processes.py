"""Runs on two CPU processes are the runs of one: `python -m tests.test_processes <what>`."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import Callback

from common.arms.reconstructor import warm_start_ar
from common.arms.verbalizer import warm_start_av
from common.config import TrainerConfig
from common.errors import NlaError
from common.experiment import load_experiment
from common.lifecycle.make import make_run
from common.lifecycle.tune import tune
from common.processes import Crew, check_workers, everywhere, processes_of
from common.profile import Profile, load_profile
from common.runs import LOOKS, RunFolder
from common.stages.run import run_stage
from common.trunk.choice import choose_trunk
from tests.training.runs import train as train_module

ROOT = Path(__file__).parent.parent
SCRIPT = "tests.test_processes"


class Failing(Callback):
    """Ends the process after two steps."""

    RAISES, IS_KILLED = "raises", "is killed"

    def __init__(self, how: str) -> None:
        self.how = how

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if index == 2 and self.how == self.IS_KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 2:
            raise NlaError("no such weights")


@pytest.fixture
def repository(trunk_root: Path, tmp_path: Path) -> Path:
    shutil.copytree(trunk_root / "data", tmp_path / "data")
    for name in ("common", "ar_variants", "decomposition", "experiments", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def led(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """This module as a command, which leads as many processes as it wants."""
    clean = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK")
    }
    tracking = {"MLFLOW_TRACKING_URI": f"sqlite:///{place}/mlflow.db", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", SCRIPT, *words],
        cwd=place,
        env=clean | tracking | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )


def test_warm_starts_trials_and_runs_are_those_of_one_process(repository: Path, tmp_path: Path):
    told = {}
    for devices in ("1", "2"):
        done = led(repository, "train", devices)
        assert done.returncode == 0, done.stderr
        told[devices] = json.loads(done.stdout.splitlines()[-1])
        (repository / "runs").rename(tmp_path / devices)
        (repository / "optuna.db").unlink()
    assert set(told["1"]) == {"av", "ar", "trials", "reader", "policy"}
    for name, numbers in told["1"].items():
        assert told["2"][name] == pytest.approx(numbers, abs=1e-4), name


def test_what_ends_a_follower_is_told_by_the_leader(repository: Path):
    done = led(repository, "fail", "1")
    assert "process 1 ended (exit status 1): no such weights" in done.stderr
    assert "mend that and run the same command again" in done.stderr


@pytest.mark.parametrize("how", [Failing.RAISES, Failing.IS_KILLED])
def test_a_leader_that_ends_in_the_midst_leaves_no_process_behind(repository: Path, how: str):
    started = time.monotonic()
    done = led(repository, "fail", "0", how)
    assert done.returncode == (1 if how == Failing.RAISES else -signal.SIGKILL)
    assert ("no such weights" in done.stderr) == (how == Failing.RAISES)
    for _ in range(50):
        if not lives(int(done.stdout)):
            break
        time.sleep(0.1)
    assert not lives(int(done.stdout))
    assert time.monotonic() - started < 120, "it waited for a timeout"


def lives(process: int) -> bool:
    """Whether a process is alive; one that nobody has waited for is not."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize(
    ("devices", "changes", "refusal"),
    [
        (3, {}, r"rl.activations / .* = 4 does not divide among 3 processes"),
        (2, {"num_nodes": 4}, r"rl.activations / .* = 4 does not divide among 8"),
        (0, {}, r"devices = 0.*say how many"),
        ("0,1", {}, r"devices = '0,1'.*say how many"),
        (2, {"strategy": "fsdp2"}, r"strategy = fsdp2 is not for runs.*set it to ddp"),
        (2, {"strategy": "ddp_spawn"}, r"strategy = ddp_spawn is not for runs"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    smoke: Profile, devices: int | str, changes: dict[str, Any], refusal: str
):
    profile = smoke.replace(trainer=smoke.trainer.replace(devices=devices, **changes))
    with pytest.raises(NlaError, match=refusal):
        make_run(load_experiment("baseline").arm("control", profile), 0)


def test_workers_of_several_processes_are_refused(smoke: Profile):
    check_workers(4, smoke)
    two = smoke.replace(trainer=smoke.trainer.replace(devices=2))
    check_workers(1, two)
    with pytest.raises(NlaError, match=r"4 workers, each of 2 processes.*leave --workers out"):
        check_workers(4, two)


def test_several_nodes_want_a_launcher(smoke: Profile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RANK", raising=False)
    two = smoke.replace(trainer=smoke.trainer.replace(num_nodes=2))
    assert processes_of(two.trainer) == 2
    with pytest.raises(NlaError, match=r"2 nodes.*on each of them with `torchrun"):
        everywhere(two, print)


def main(what: str, *details: str) -> None:
    """Lead two processes (or be alone)."""
    sys.modules["__main__"] = module = importlib.import_module(SCRIPT)
    {"train": module.train, "fail": module.fail}[what](*details)


def train(devices: str) -> None:
    """A warm-started AV and AR, an arm with trials, and one of reinforcement learning."""
    profile = small(int(devices))
    choice = choose_trunk(profile)
    for stage in ("av", "av_text", "ar"):
        run_stage(stage, choice)
    reader = load_experiment("ar_small").arm("bag_of_words", profile)
    best = tune(reader)
    policy = load_experiment("baseline").arm("control", profile)
    runs = make_run(reader, 0, best), make_run(policy, 0, tune(policy))
    looks = sum("dev_fve" in values for _, values in runs[1].metrics())
    assert len(list(runs[1].dev_texts.glob(LOOKS))) == looks, "texts of every look, once"
    told = {
        "av": warm_start_av(choice).run_folder(0).summary["dev_loss"],
        "ar": warm_start_ar(choice).run_folder(0).summary["dev_fve"],
        "trials": best.values[0],
        "reader": runs[0].summary["dev_fve"],
        "policy": runs[1].summary["dev_fve"],
    }
    sys.stdout.write(json.dumps(told) + "\n")


def fail(rank: str, how: str = Failing.RAISES) -> None:
    """One of two processes ends in the midst of training."""
    everywhere(small(2), train_or_fail, Path("data/smoke/target").resolve(), int(rank), how)


def train_or_fail(target: Path, rank: int, how: str) -> None:
    """It is this process, or the other one; the leader tells the other one's number first."""
    if Crew.only:
        sys.stdout.write(f"{Crew.only.workers[0].pid}\n")
        sys.stdout.flush()
    callbacks = [Failing(how)] if rank == int(os.environ["RANK"]) else []
    trainer = TrainerConfig(accelerator="cpu", devices=2, precision="32-true")
    train_module("ar", target, RunFolder(Path("runs/smoke/test/failing/0")), trainer, callbacks)


def small(devices: int) -> Profile:
    """A few steps of everything."""
    smoke = load_profile("smoke")
    few = {"validations": 1, "validation_examples": 8}
    return smoke.replace(
        av=smoke.av.replace(examples=16, max_explanation_tokens=8, **few),
        ar=smoke.ar.replace(examples=16, av_examples=8, **few),
        rl=smoke.rl.replace(steps=2, activations=4, samples=2, **few),
        tuning=smoke.tuning.replace(trials=2, examples=16),
        evaluation=smoke.evaluation.replace(
            prefix_lengths=(4,), batch_size=256, neutral_examples=4
        ),
        trainer=smoke.trainer.replace(devices=devices),
        warm_starts=1,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
