"""Which trials fill a study's budget, and whether the process that runs one is still alive.

A slot is one setting that counts against the budget: the trial that drew it and, after a kill or
an error, the retries of its parameters (user attribute `retry_of`). Whether a trial may run depends
only on trials with smaller numbers, which every worker sees alike: the budget is never exceeded.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial, TrialState

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 20.0
GRACE_SECONDS = 120.0
"""A trial whose heartbeat has not changed for this long counts as dead."""
ATTEMPTS = 2
"""A setting that raised this often is given up; its slot goes to a new one."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
"""File in which Linux has a new id after every boot."""
ENDED = "ZXx"
"""States of a process that has ended but is still listed."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def slot_of(trial: optuna.Trial | FrozenTrial) -> int:
    """Number of the trial that first drew this setting; the same before and after a kill."""
    return trial.user_attrs.get("retry_of", trial.number)


class Slots:
    """The trials of one study at one moment, grouped by slot; surplus trials are left out."""

    def __init__(self, trials: Sequence[FrozenTrial], budget: int) -> None:
        """Group the trials; `budget` slots count, those with the smallest numbers."""
        self._chains: dict[int, list[FrozenTrial]] = {}
        for trial in sorted(trials, key=lambda trial: trial.number):
            if not trial.user_attrs.get("surplus"):
                self._chains.setdefault(slot_of(trial), []).append(trial)
        live = [slot for slot, chain in sorted(self._chains.items()) if not _given_up(chain)]
        self._budget = budget
        self._taken = len(live)
        self._counting = live[:budget]
        self.queued = any(trial.state == TrialState.WAITING for trial in trials)
        self.running = [trial for trial in trials if trial.state == TrialState.RUNNING]

    @property
    def finished(self) -> int:
        """How many slots hold a complete or pruned trial."""
        return sum(any(t.state in DONE for t in chain) for chain in self._chains.values())

    @property
    def room(self) -> bool:
        """Whether a new setting may be drawn."""
        return self._taken < self._budget

    def may_run(self, number: int) -> bool:
        """Whether a trial is within the budget and the first of its slot that has not failed."""
        for slot in self._counting:
            standing = [t.number for t in self._chains[slot] if t.state != TrialState.FAIL]
            if standing and standing[0] == number:
                return True
        return False

    def rank(self, slot: int) -> int:
        """How many settings were drawn before this slot's; the same with or without kills."""
        return sum(other < slot for other in self._chains)

    def lost(self) -> list[tuple[int, dict[str, float]]]:
        """(slot, parameters) of the slots all of whose trials failed: each needs a retry."""
        return [
            (slot, last.system_attrs.get("fixed_params", {}) | last.params)
            for slot in self._counting
            for last in self._chains[slot][-1:]
            if all(trial.state == TrialState.FAIL for trial in self._chains[slot])
        ]


def _given_up(chain: list[FrozenTrial]) -> bool:
    return sum("error" in trial.user_attrs for trial in chain) >= ATTEMPTS


class Lease:
    """Context in which this process runs a trial, marked with its owner and a heartbeat."""

    def __init__(self, trial: optuna.Trial) -> None:
        """Record this process as the trial's owner; the heartbeat starts with the context."""
        self._trial = trial
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        owner = {"machine": _machine(), "pid": os.getpid(), "started": _start_of(os.getpid())}
        trial.set_user_attr("owner", owner)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        beats = 0
        while not self._stop.wait(HEARTBEAT_SECONDS):
            beats += 1
            try:
                self._trial.set_user_attr("heartbeat", beats)
            except optuna.exceptions.UpdateFinishedTrialError:
                logger.warning("trial %d was taken over by another worker", self._trial.number)
                return
            except optuna.exceptions.StorageInternalError:
                logger.warning("trial %d: the Optuna storage does not answer", self._trial.number)


class Watch:
    """Tells dead trials from running ones without comparing the clocks of two machines."""

    def __init__(self) -> None:
        """Start with no observations."""
        self._seen: dict[int, tuple[int | None, float]] = {}

    def fail_dead(self, study: optuna.Study, running: Sequence[FrozenTrial]) -> None:
        """Mark the dead among the running trials FAIL."""
        for trial in running:
            if self._is_dead(trial):
                logger.warning("trial %d was killed: its setting runs again", trial.number)
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        """Its process has ended on this machine, or its heartbeat did not change while watched."""
        beats, now = trial.user_attrs.get("heartbeat"), time.monotonic()
        if trial.number not in self._seen or self._seen[trial.number][0] != beats:
            self._seen[trial.number] = (beats, now)
        return _is_gone(trial.user_attrs.get("owner")) or (
            now - self._seen[trial.number][1] > GRACE_SECONDS
        )


def _is_gone(owner: dict | None) -> bool:
    """Whether a process on this machine has ended; for another machine only heartbeats count."""
    if owner is None or owner["machine"] != _machine():
        return False
    return _start_of(owner["pid"]) != owner["started"]


def _start_of(pid: int) -> int | None:
    """When a running process started, independent of clock changes; None if it has ended.

    On Linux in clock ticks since boot (field 22 of its `stat`), elsewhere the second recorded by
    the system: two processes with the same id never share it.
    """
    if not BOOT.exists():
        try:
            process = psutil.Process(pid)
            is_over = process.status() == psutil.STATUS_ZOMBIE
            return None if is_over else round(process.create_time())
        except psutil.NoSuchProcess:
            return None
    try:
        # The process's name, in brackets, may contain spaces and brackets.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in ENDED else int(fields[18])


def _machine() -> str:
    """Host name, boot and process namespace: machines or containers may share any one of these.

    After a reboot it counts as another machine, whose old trials are judged by their heartbeats.
    """
    boot = BOOT.read_text().strip() if BOOT.exists() else ""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot} {os.readlink(namespace) if boot else ''}"
