"""A fresh copy of the repository, in which commands run as a user runs them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


class Clone:
    """A copy of the working tree with a git of its own, where commands run as a user runs them."""

    def __init__(self, place: Path) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        for name in listed:
            if (ROOT / name).exists() and Path(name).name != "dvc.lock":
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, place / name)
        self.place = place
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(place),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        self.run("git", "init", "--quiet")

    def run(self, *command: str) -> str:
        """Standard output and error of a command that must succeed."""
        done = subprocess.run(
            command,
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def repro(self, *arguments: str) -> list[str]:
        """`dvc repro`; the stages that ran, but `code`, which always does."""
        told = self.run("dvc", "repro", *arguments)
        ran = re.findall(r"^Running stage '(.*)':$", told, re.MULTILINE)
        return [stage for stage in ran if stage != "code"]

    def changed(self) -> set[str]:
        """Stages on the experiment's way that DVC would run for something they depend on.

        But `code`, which always runs, and changes nothing while the code is the same.
        """
        self.run("nla", "code")
        told = self.run("dvc", "status", "--json", "--with-deps", "experiments/ar_small")
        return set(json.loads(told)) - {"code"}

    def killed_when(self, pattern: str, *command: str) -> Path:
        """Run a command and kill all its processes as soon as a file of this pattern exists."""
        process = subprocess.Popen(
            command,
            cwd=self.place,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not (found := sorted(self.place.glob(pattern))):
                assert process.poll() is None, f"{command} ended before {pattern} existed"
                time.sleep(0.005)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return found[0]

    def edit(self, name: str, change: Callable[[dict], None]) -> Callable[[], None]:
        """Change a YAML file; returns what undoes it."""
        file = self.place / name
        before = file.read_text()
        values = yaml.safe_load(before)
        change(values)
        file.write_text(yaml.safe_dump(values, sort_keys=False))
        return lambda: file.write_text(before) and None

    def written(self, pattern: str) -> dict[Path, int]:
        """When each file of a pattern was written."""
        return {file: file.stat().st_mtime_ns for file in self.place.glob(pattern)}
