"""One Ctrl-C ends a command wherever it is, and a second one at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.interruption import TOLD

ROOT = Path(__file__).parent.parent
COMMAND = """
import gc, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a shell's background jobs
from common import cli
from common.stages import run
def tell(what):
    print(what, flush=True)
def work(name, choice):
    {work}
run.run_stage = work
cli.main()
"""
ASLEEP = """
    tell("ready")
    time.sleep(60)
"""
IN_A_COLLECTION = """
    def spin(phase, info):
        tell("ready")
        while True:
            pass
    gc.callbacks.append(spin)
    started = time.monotonic()
    while time.monotonic() < started + 60:
        gc.collect()
"""
IN_A_FINALIZER = """
    class Slow:
        def __del__(self):
            tell("ready")
            time.sleep(60)
    Slow()
    time.sleep(60)
"""
CAUGHT = """
    try:
        tell("ready")
        time.sleep(60)
    except BaseException:
        pass
    time.sleep(60)
"""
IGNORED_WHILE_CLEANING_UP = """
    try:
        tell("ready")
        time.sleep(60)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        tell("cleaning")
        time.sleep(60)
"""
CLEANING_UP = """
    try:
        tell("ready")
        time.sleep(60)
    finally:
        tell("cleaning")
        time.sleep(1)
        tell("clean")
"""

SLOW_CLEANING_UP = CLEANING_UP.replace("sleep(1)", "sleep(60)")


def start(work: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(work=work.strip()), "stage", "corpus"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    ("work", "sent"),
    [
        (ASLEEP, signal.SIGINT),
        (ASLEEP, signal.SIGTERM),
        (IN_A_COLLECTION, signal.SIGINT),
        (IN_A_COLLECTION, signal.SIGTERM),
        (IN_A_FINALIZER, signal.SIGINT),
        (CAUGHT, signal.SIGINT),
    ],
)
def test_one_interruption_ends_a_command_in_one_line(
    repository: Path, work: str, sent: signal.Signals
):
    process = start(work)
    process.send_signal(sent)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert told == TOLD


def test_what_cleans_up_is_not_interrupted_again(repository: Path):
    process = start(CLEANING_UP)
    for _ in range(2):  # as a supervisor's, which says it once more to its children
        process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=20)
    assert (process.returncode, out, told) == (130, "cleaning\nclean\n", TOLD)


@pytest.mark.parametrize("work", [SLOW_CLEANING_UP, IGNORED_WHILE_CLEANING_UP])
def test_a_second_ctrl_c_ends_at_once(repository: Path, work: str):
    process = start(work)
    process.send_signal(signal.SIGINT)
    assert process.stdout
    assert process.stdout.readline() == "cleaning\n"
    time.sleep(0.5)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, TOLD)
    assert time.monotonic() - started < 5
