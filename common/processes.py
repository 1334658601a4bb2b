"""One run on several devices: the process that was started leads, the others follow.

Only the leader chooses settings, writes files and prints. What trains a model is called through
`everywhere`: the followers make the same call, on their shares of each batch, and drop the result.
On one node the leader starts them by itself, when there is first something to train; on several
nodes `torchrun` starts them all.
"""

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import IO, Any, ClassVar, TypeVar

from common.allocator import free_finished_runs
from common.config import TrainerConfig
from common.errors import NlaError
from common.profile import Profile

T = TypeVar("T")

WHOLE_MODELS = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_true",
    "ddp_find_unused_parameters_false",
)
"""Strategies that leave every process a whole model, which the leader can save."""
LONG = timedelta(days=30)
"""Timeout: followers wait while the leader tests and writes."""
GRACE_SECONDS = 10.0
"""Given to the leader to notice that a follower has ended, and to the follower to end."""
ON_CPU = "NLA_ON_CPU"
"""Environment variable that tells followers not to use GPUs."""
ON_EACH_NODE = (
    "torchrun --nnodes=N --nproc-per-node=M --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT"
    " -m common.cli ..."
)


def processes_of(trainer: TrainerConfig) -> int:
    """How many processes train a model; `devices: auto`: all GPUs of a node, or one CPU process."""
    devices = trainer.devices
    if devices in ("auto", "-1", -1):
        import torch

        devices = 1 if trainer.accelerator == "cpu" else max(1, torch.cuda.device_count())
    if not str(devices).isdecimal() or not int(devices):
        remedy = "say how many (CUDA_VISIBLE_DEVICES says which)"
        raise NlaError(f"devices = {devices!r}", where="trainer", remedy=remedy)
    return int(devices) * trainer.num_nodes


def check_shares(profile: Profile, **sizes: int) -> None:
    """NlaError unless batches of these sizes divide among the processes, with whole models."""
    trainer = profile.trainer
    count, where = processes_of(trainer), f"profile {profile.name}"
    if count > 1 and trainer.strategy not in WHOLE_MODELS:
        what = f"trainer.strategy = {trainer.strategy} is not for runs on several devices"
        raise NlaError(what, where=where, remedy="set it to ddp, or devices to 1")
    for name, size in sizes.items():
        if size % count:
            what = f"{name} = {size} does not divide among {count} processes"
            raise NlaError(what, where=where, remedy="raise it, or use fewer")


def check_workers(workers: int, profile: Profile) -> None:
    """NlaError when each of several workers would want several processes."""
    if workers > 1 and (count := processes_of(profile.trainer)) > 1:
        what = f"{workers} workers, each of {count} processes"
        raise NlaError(what, where="trainer.devices", remedy="set it to 1, or leave --workers out")


def by_torchrun() -> bool:
    """Whether `torchrun` has started this process and others beside it."""
    return "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1"


def everywhere(
    profile: Profile, work: Callable[..., T], *args: Any, others: tuple[Any, ...] | None = None
) -> T:
    """`work(*args)` in every process; what it returns in this one, the leader.

    Work and arguments are pickled; `others` are the followers' arguments where they differ.
    """
    count = processes_of(profile.trainer)
    if count == 1 and not by_torchrun():
        return work(*args)
    from optuna import TrialPruned

    if profile.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(profile.threads))  # Lightning goes by it
    crew = Crew.of(profile.trainer)
    crew.check(count)
    crew.busy = True
    try:
        crew.send((profile.threads, work, args if others is None else others))
        answer = work(*args)
    except TrialPruned:
        crew.busy = False  # so are the followers: they end the trial at the same step
        raise
    except RuntimeError as error:
        if failure := crew.failure(GRACE_SECONDS):
            raise NlaError(failure, remedy="mend that and run the same command again") from error
        raise
    crew.busy = False
    return answer


def part_of(command: Callable[[], None]) -> Callable[[], None]:
    """What this one of several processes does: the first runs the command, the others follow."""
    if int(os.environ["RANK"]):
        return follow
    if by_torchrun():
        Crew.only = Crew()  # now, before the followers time out
    return command


def follow() -> None:
    """Make the leader's calls until it dismisses this process, or has ended."""
    from optuna import TrialPruned

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # at once, also while it waits for the others
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader handles it
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    channel = _join(ON_CPU in os.environ)
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

    only: "ClassVar[Crew | None]" = None
    """The crew of this process."""

    def __init__(self, count: int = 1, on_cpu: bool = False) -> None:
        """Start the other `count` - 1 processes, unless `torchrun` has, and connect to them."""
        self.workers: list[subprocess.Popen] = []
        self.told: list[IO[str]] = []
        self.busy = True
        atexit.register(self.dismiss)
        if not by_torchrun():
            self._start(count, on_cpu)
            threading.Thread(target=self._watch, daemon=True).start()
        self.channel = _join(on_cpu)
        self.busy = False

    @classmethod
    def of(cls, trainer: TrainerConfig) -> "Crew":
        """As many processes as a trainer wants; started when first needed."""
        if trainer.num_nodes > 1 and not by_torchrun():
            remedy = f"start the same command on each of them with `{ON_EACH_NODE}`"
            raise NlaError(f"{trainer.num_nodes} nodes", where="trainer.num_nodes", remedy=remedy)
        cls.only = cls.only or cls(processes_of(trainer), trainer.accelerator == "cpu")
        return cls.only

    def check(self, count: int) -> None:
        """NlaError unless a profile wants as many processes as there are."""
        import torch.distributed as dist

        if (there := dist.get_world_size()) != count:
            what = f"{there} processes for trainer.devices * num_nodes = {count}"
            raise NlaError(what, where="torchrun", remedy="make the two agree")

    def send(self, call: Any) -> None:
        """Send a call to all followers."""
        import torch.distributed as dist

        dist.broadcast_object_list([call], src=0, group=self.channel)

    def failure(self, patience: float) -> str:
        """Why a follower ended, or ""; waits up to `patience` seconds for one to end."""
        until, found = time.monotonic() + patience, ""
        while time.monotonic() < until and all(worker.poll() is None for worker in self.workers):
            time.sleep(0.1)
        for number, (worker, told) in enumerate(zip(self.workers, self.told, strict=True), start=1):
            if worker.poll() is None:
                continue
            told.seek(0)
            last = (told.read().splitlines() or ["no message"])[-1]
            line = f"process {number} ended (exit status {worker.returncode})"
            if last.startswith("nla: "):  # the others' connections broke because of this one
                return f"{line}: {last.removeprefix('nla: error: ')}"
            found = found or f"{line}: {last}"
        return found

    def dismiss(self) -> None:
        """Let the followers end; those that still train when the leader fails are killed.

        They write no files, and while they wait for the others they would not react to a message.
        """
        if not self.busy:
            with contextlib.suppress(RuntimeError):
                self.send(None)
        for worker in self.workers:
            if self.busy:
                worker.kill()
            worker.wait()

    def _watch(self) -> None:
        """On a GPU the leader waits for ever for a follower that has ended: end the leader then."""
        while all(worker.poll() is None for worker in self.workers):
            time.sleep(0.5)
        time.sleep(2 * GRACE_SECONDS)
        if self.busy:
            sys.stderr.write(f"nla: error: {self.failure(0)}: run the same command again\n")
            sys.stderr.flush()
            for worker in self.workers:
                worker.kill()
            os._exit(1)

    def _start(self, count: int, on_cpu: bool) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
        os.environ.update(
            place | {"RANK": "0", "LOCAL_RANK": "0"} | ({ON_CPU: "1"} if on_cpu else {})
        )
        for number in range(1, count):
            told = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
            worker = subprocess.Popen(
                [sys.executable, "-m", "common.cli"],
                env=os.environ | {"RANK": str(number), "LOCAL_RANK": str(number)},
                stdout=subprocess.DEVNULL,
                stderr=told,
                process_group=0,  # Ctrl-C is for the leader
            )
            self.told.append(told)
            self.workers.append(worker)


def _join(on_cpu: bool) -> Any:
    """Connect to the other processes; returns the group over which calls are sent."""
    import torch
    import torch.distributed as dist

    on_gpu = torch.cuda.is_available() and not on_cpu
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    return dist.new_group(backend="gloo", timeout=LONG)


def _receive(channel: Any) -> Any:
    """The leader's next call; None when it has none, or has ended."""
    import torch.distributed as dist

    calls = [None]
    try:
        dist.broadcast_object_list(calls, src=0, group=channel)
    except RuntimeError:
        return None
    return calls[0]


def _end_with(parent: int) -> None:
    """End this process when the one that started it has ended, whatever it waits for."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
