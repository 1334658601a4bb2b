"""One run on several devices: the process that was started leads, the others follow.

The leader alone chooses, writes and tells. What trains a model is called through `everywhere`: the
followers make the same call, on their shares of each batch, and forget what comes of it. On one
node the leader starts them by itself, when there is first something to train; on several nodes
`torchrun` starts them all.
"""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import IO, Any, TypeVar

from common.allocator import free_finished_runs
from common.config import TrainerConfig
from common.errors import NlaError
from common.profile import Profile

T = TypeVar("T")

LONG = timedelta(days=30)
"""Followers wait while the leader tests and writes."""
GRACE_SECONDS = 10.0
"""For a process whose partner has failed to find out whether it has, too."""
ON_EACH_NODE = (
    "torchrun --nnodes=N --nproc-per-node=M --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT"
    " -m common.cli ..."
)


def processes_of(trainer: TrainerConfig) -> int:
    """How many train one model; `devices: auto` is all GPUs of a node, or one CPU process."""
    devices = trainer.devices
    if devices in ("auto", "-1", -1):
        import torch

        on_cpu = trainer.accelerator == "cpu"
        devices = 1 if on_cpu else max(1, torch.cuda.device_count())
    try:
        return int(devices) * trainer.num_nodes
    except ValueError as error:
        remedy = "say how many (CUDA_VISIBLE_DEVICES says which)"
        raise NlaError(f"devices = {devices!r}", where="trainer", remedy=remedy) from error


def check_shares(profile: Profile) -> None:
    """NlaError unless every global batch divides among the processes."""
    count = processes_of(profile.trainer)
    if count > 1 and profile.trainer.strategy == "fsdp2":
        what = "fsdp2 leaves each process a part of the model, and a run saves whole ones"
        raise NlaError(what, where="trainer.strategy", remedy="set it to ddp, or devices to 1")
    rl = profile.rl
    batches = {
        "av.batch_size": profile.av.batch_size,
        "ar.batch_size": profile.ar.batch_size,
        "rl.activations / (optimizer_steps * micro_batches)": (
            rl.activations // (rl.optimizer_steps * rl.micro_batches)
        ),
    }
    for name, size in batches.items():
        if size % count:
            what = f"{name} = {size} does not divide among {count} processes"
            raise NlaError(what, where=f"profile {profile.name}", remedy="raise it, or use fewer")


def check_workers(workers: int, profile: Profile) -> None:
    """NlaError when each of several workers would want several processes."""
    if workers > 1 and (count := processes_of(profile.trainer)) > 1:
        what = f"{workers} workers, each of {count} processes"
        raise NlaError(what, where="trainer.devices", remedy="set it to 1, or leave --workers out")


def everywhere(
    profile: Profile, work: Callable[..., T], *args: Any, others: tuple[Any, ...] | None = None
) -> T:
    """`work(*args)` in every process; what it returns in this one, the leader.

    Work and arguments are pickled; `others` are the followers' arguments where they differ.
    """
    if processes_of(profile.trainer) == 1:
        return work(*args)
    from optuna import TrialPruned

    check_shares(profile)
    crew = _crew(processes_of(profile.trainer), profile.trainer.num_nodes)
    crew.busy = True
    crew.send((profile.threads, work, args if others is None else others))
    try:
        answer = work(*args)
    except TrialPruned:
        crew.busy = False  # as the others are: they end it at the same step
        raise
    except RuntimeError as error:
        if failure := crew.failure():
            raise NlaError(failure, remedy="mend that and run the same command again") from error
        raise
    crew.busy = False
    return answer


def follow() -> None:
    """Make the leader's calls until it dismisses us, or is gone."""
    from optuna import TrialPruned

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also while it waits for the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader's affair
    channel = _join()
    while (call := _receive(channel)) is not None:
        threads, work, args = call
        if threads:
            import torch

            torch.set_num_threads(threads)
        with contextlib.suppress(TrialPruned):
            work(*args)
        del work, args, call
        free_finished_runs()


class Crew:
    """The leader's followers, and the way to call them."""

    def __init__(self, count: int) -> None:
        """Start them, unless `torchrun` has."""
        self.workers: list[subprocess.Popen] = []
        self.told: list[IO[str]] = []
        self.busy = False
        if "RANK" not in os.environ:
            self._start(count)
        if int(os.environ["WORLD_SIZE"]) != count:
            what = f"{os.environ['WORLD_SIZE']} processes for trainer.devices * num_nodes = {count}"
            raise NlaError(what, where="torchrun", remedy="make the two agree")
        self.channel = _join()
        atexit.register(self.dismiss)

    def send(self, call: Any) -> None:
        """To all followers."""
        import torch.distributed as dist

        dist.broadcast_object_list([call], src=0, group=self.channel)

    def failure(self) -> str:
        """What ended a follower, or ""."""
        for number, (worker, told) in enumerate(zip(self.workers, self.told, strict=True), start=1):
            try:
                status = worker.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            told.seek(0)
            last = (told.read().splitlines() or [""])[-1]
            return f"process {number} ended (exit status {status}): {last.removeprefix('nla: ')}"
        return ""

    def dismiss(self) -> None:
        """Let the followers end; those that still train when the leader fails are stopped."""
        if not self.busy:
            self.send(None)
        for worker in self.workers:
            if self.busy:
                worker.terminate()
            worker.wait()

    def _start(self, count: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        os.environ.update(place | {"RANK": "0", "LOCAL_RANK": "0"})
        for number in range(1, count):
            own = {"RANK": str(number), "LOCAL_RANK": str(number)}
            told = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
            worker = subprocess.Popen(
                [sys.executable, "-m", "common.cli"],
                env=os.environ | own,
                stdout=subprocess.DEVNULL,
                stderr=told,
            )
            self.told.append(told)
            self.workers.append(worker)


@cache
def _crew(count: int, nodes: int) -> Crew:
    if nodes > 1 and "RANK" not in os.environ:
        remedy = f"start the same command on each of them with `{ON_EACH_NODE}`"
        raise NlaError(f"{nodes} nodes", where="trainer.num_nodes", remedy=remedy)
    return Crew(count)


def _join() -> Any:
    """Meet the other processes; the group over which calls are sent."""
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return dist.new_group(backend="gloo", timeout=LONG)


def _receive(channel: Any) -> Any:
    """The leader's next call; None when it has none, or is gone."""
    import torch.distributed as dist

    calls = [None]
    try:
        dist.broadcast_object_list(calls, src=0, group=channel)
    except RuntimeError:
        return None
    return calls[0]
