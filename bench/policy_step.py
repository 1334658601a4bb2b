"""One whole GRPO step, AV and AR trained: ours against TRL's trainer, and where the time goes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from bench.alternatives import ROOT, Worker, environment
from bench.timing import Rates, Ratio, alternate, ratio
from bench.workload import Workload
from common.errors import NlaError
from common.models.templates import SUMMARY_AFTER, SUMMARY_BEFORE, AVTemplate

TRL = "trl==1.16.0 peft==0.21.2"
ACTIVATIONS, SAMPLES, TOKENS, QUICK_TOKENS = 4, 8, 48, 8
GOAL = 2.0
OURS, FROZEN, PLAIN = "nla", "nla, AR frozen", "TRL"
WORKER = Path(__file__).parent / "policy_worker.py"


class Stepped(NamedTuple):
    """Steps per hour in rounds, seconds of each part of a step, and peaks of memory in GiB."""

    tokens: int
    """Of each explanation."""
    rates: Rates
    ratios: list[Ratio]
    parts: dict[str, dict[str, float]]
    peaks: dict[str, float]
    scaling: dict[str, float]
    """Seconds of a step of ours at other sizes, in units of the step above."""
    missing: dict[str, str]


class Stepper(Worker):
    """A process that takes a step when asked."""

    def __init__(self, name: str, process: subprocess.Popen[str], complaints: Path) -> None:
        """Waits until the first step, a warm-up, is done; `complaints` is its standard error."""
        super().__init__(name, process, WORKER)
        self.complaints = complaints
        self.steps = []
        while (line := self.answer()) != "ready":
            if not line:
                raise self.failure("took no first step")

    def failure(self, what: str) -> NlaError:
        """What went wrong, with the last line that it wrote about it."""
        status = self.process.wait()
        said = self.complaints.read_text().strip().splitlines() or ["without a word"]
        remedy = "free memory if it was killed (-9), or mend what it says"
        return NlaError(f"{self.name} {what} ({status}): {said[-1]}", where=WORKER, remedy=remedy)

    def step(self, _: int) -> float:
        """Take a step; its rate in steps per hour."""
        self.steps.append(json.loads(self.ask()))
        return 3600 / self.steps[-1][0]

    def peak(self) -> float:
        """End it; its largest resident memory in GiB."""
        assert self.process.stdin
        self.process.stdin.close()
        return float(self.answer())

    def parts(self) -> dict[str, float]:
        """Median seconds of each part, and of what is in none."""
        names = dict.fromkeys(name for _, parts in self.steps for name in parts)
        found = {name: median(parts[name] for _, parts in self.steps) for name in names}
        rest = median(seconds - sum(parts.values()) for seconds, parts in self.steps)
        return found | {"the rest": rest}


def measure_policy_steps(work: Workload, packages: bool) -> Stepped:
    """Steps in turn, each process idle while another works, then single steps at other sizes.

    Two processes at a time: three of them want more memory than many a machine has.
    """
    asked = _request(work)
    python, why = environment("TRL", TRL) if packages else (None, "not asked for")
    pair = {OURS: asked} | ({PLAIN: asked | {"kind": "trl"}} if python else {})
    rates, parts, peaks = {}, {}, {}
    for wanted in (pair, {FROZEN: asked | {"train_ar": False}}):
        with _workers(wanted, python) as workers:
            units = {name: worker.step for name, worker in workers.items()}
            rates |= alternate(units, work.scale.rounds, "GRPO steps")
            parts |= {name: worker.parts() for name, worker in workers.items()}
            peaks |= {name: worker.peak() for name, worker in workers.items()}
    ratios = [ratio(rates, OURS, PLAIN, GOAL)] if python else []
    base = 3600 / median(rates[OURS])
    scaling = {name: _seconds(asked | change) / base for name, change in _sizes(asked).items()}
    missing = {} if python else {"TRL": why}
    return Stepped(asked["tokens"], rates, ratios, parts, peaks, scaling, missing)


def _request(work: Workload) -> dict[str, Any]:
    trunk = work.trunk()
    template, tokenizer = AVTemplate.of(trunk.tokenizer), trunk.tokenizer
    return {
        "kind": "nla",
        "target": str(trunk.places.target.resolve()),
        "activations": ACTIVATIONS,
        "samples": SAMPLES,
        "tokens": TOKENS if work.is_real else QUICK_TOKENS,
        "ar_blocks": trunk.layer + 1,
        "blocks": 0,
        "train_ar": True,
        "precision": work.profile.trainer.precision,
        "threads": torch.get_num_threads(),
        "prompt": tokenizer.decode(template.prompt_ids),
        "frame": [SUMMARY_BEFORE, SUMMARY_AFTER],
    }


def _sizes(asked: dict[str, Any]) -> dict[str, dict[str, int]]:
    """One thing at a time, halved or doubled."""
    return {
        "twice the samples": {"samples": 2 * asked["samples"]},
        "half the tokens": {"tokens": asked["tokens"] // 2},
        "half the AV's blocks": {"blocks": 15 if asked["ar_blocks"] > 10 else 6},
        "half the AR's blocks": {"ar_blocks": asked["ar_blocks"] // 2},
    }


def _seconds(asked: dict[str, Any]) -> float:
    with _workers({OURS: asked}, None) as workers:
        return 3600 / workers[OURS].step(0)


@contextmanager
def _workers(
    wanted: dict[str, dict[str, Any]], python: Path | None
) -> Iterator[dict[str, Stepper]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = {}
        for number, (name, asked) in enumerate(wanted.items()):
            request, complaints = folder / f"{number}.json", folder / f"{number}.log"
            request.write_text(json.dumps(asked))
            # TRL's process has none of our modules but those beside the script.
            command = [sys.executable, "-m", "bench.policy_worker", str(request)]
            if asked["kind"] == "trl":
                command = [str(python), str(WORKER), str(request)]
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(complaints.open("w")),
                    text=True,
                )
            )
            stack.callback(process.kill)
            workers[name] = Stepper(name, process, complaints)
        yield workers
