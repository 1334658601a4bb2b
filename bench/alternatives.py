"""Processes that read activations the way others do, each package in an environment of its own."""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch

from common.errors import NlaError

ROOT = Path(__file__).parent.parent
READERS = Path(__file__).parent / "readers.py"
ENVIRONMENTS = ROOT / ".bench"
PACKAGES = {"nnsight": "nnsight==0.8.1", "TransformerLens": "transformer-lens==4.3.0"}
"""Readers that live in an environment of their own."""


class Work(NamedTuple):
    """What every reader reads: the same documents (token ids) at the same positions."""

    target: Path
    layer: int
    rows: list[list[int]]
    positions: list[list[int]]
    batch_size: int

    @property
    def activations(self) -> int:
        """How many vectors one reading gives."""
        return sum(map(len, self.positions))


class Worker:
    """A process that does one piece of work for each line that it is sent; idle otherwise."""

    def __init__(self, name: str, process: subprocess.Popen[str], script: Path) -> None:
        """Does not wait."""
        self.name, self.process, self.script = name, process, script

    def ask(self) -> str:
        """Let it work once; its answer."""
        assert self.process.stdin
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        if not (answer := self.answer()):
            raise self.failure("died")
        return answer

    def answer(self) -> str:
        """The next line that it writes; "" when it has ended."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def failure(self, what: str) -> NlaError:
        """What went wrong with it."""
        remedy = "read its message above"
        return NlaError(f"{self.name} {what}", where=self.script, remedy=remedy)


class Alternative(Worker):
    """A running reader; `activations` are those of its first reading."""

    def __init__(self, name: str, process: subprocess.Popen[str], activations: Path) -> None:
        """Wait until the process has loaded its model and read everything once."""
        super().__init__(name, process, READERS)
        if self.answer() != "ready":
            raise self.failure("did not start")
        self.activations = torch.load(activations)

    def seconds(self) -> float:
        """Let it read everything once more."""
        return float(self.ask())


@contextmanager
def running(interpreters: dict[str, Path], work: Work) -> Iterator[dict[str, Alternative]]:
    """The readers, loaded one after another and ended together; idle unless asked."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = {}
        for name, interpreter in interpreters.items():
            request, out = folder / f"{name}.json", folder / f"{name}.pt"
            asked = {"reader": name, "out": str(out), "threads": torch.get_num_threads()}
            asked |= work._asdict() | {"target": str(work.target.resolve())}
            request.write_text(json.dumps(asked))
            # -P: the modules beside the script must not hide a library's.
            command = [str(interpreter), "-P", str(READERS), str(request)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            found[name] = Alternative(name, process, out)
        yield found


def interpreters(with_packages: bool) -> tuple[dict[str, Path], dict[str, str]]:
    """Python of each reader that can run here, and why the others cannot."""
    own = Path(sys.executable)
    found = {"transformers": own, "transformers with next tokens": own}
    missing = {}
    for name, requirement in PACKAGES.items():
        if not with_packages:
            missing[name] = "not asked for"
            continue
        python, reason = environment(name, requirement)
        if python:
            found[name] = python
        else:
            missing[name] = reason
    return found, missing


def environment(name: str, requirement: str) -> tuple[Path | None, str]:
    """Python of the environment of a package, made on first use; or None, and why."""
    python = ENVIRONMENTS / name / "bin" / "python"
    reason = None if _is_made(python, requirement) else _make(python, requirement)
    return (None, reason) if reason else (python, "")


def _is_made(python: Path, requirement: str) -> bool:
    marker = python.parent.parent / "made.txt"
    return python.exists() and marker.exists() and marker.read_text() == _pins(requirement)


def _make(python: Path, requirement: str) -> str | None:
    """Make the environment; a line that says why that failed, or None.

    The pins of torch (with its build, so that no other is pulled) and transformers are our own:
    a difference in speed is then not one of their versions.
    """
    folder = python.parent.parent
    print(f"installing {requirement} into {folder.relative_to(ROOT)} (once)", flush=True)
    install = [str(python), "-m", "pip", "install", "--quiet"]
    steps = [[sys.executable, "-m", "venv", "--clear", str(folder)]]
    steps.append([*install, *_pins(requirement).split()])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return f"cannot be installed here ({(errors or ['no reason given'])[-1]})"
    (folder / "made.txt").write_text(_pins(requirement))
    return None


def _pins(requirement: str) -> str:
    own = [f"{name}=={importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    return " ".join([*own, requirement])


if __name__ == "__main__":
    for skipped, why in interpreters(with_packages=True)[1].items():
        print(f"{skipped}: {why}")
