"""What is missing, and the command that fixes it."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch
from rich.console import Console
from rich.markup import escape

from common.allocator import other_allocator
from common.device import device_name, in_bfloat16, multiplication_speed
from common.errors import NlaError
from common.manifest import check_content, read_manifest
from common.packages import is_package, package_path
from common.paths import TrunkPlaces
from common.profile import Profile, is_active

LIBRARIES = (
    "torch",
    "transformers",
    "lightning",
    "peft",
    "datasets",
    "polars",
    "optuna",
    "mlflow",
    "dvc",
    "litellm",
)
TOOLS = ("git", "make", "gcc")
SHARED = ("target", "corpus", "activations", "last_tokens", "explanations")
"""Stages that make one thing for all pairs."""
MIN_FREE_GIB = 10
SLOW = 200
"""GFLOP/s below which the laptop profile takes four hours and more."""


class Finding(NamedTuple):
    """Something that was checked; no remedy means that it is fine."""

    what: str
    remedy: str = ""


def examine(profile: Profile) -> bool:
    """Print every finding; True when nothing is missing."""
    findings = [
        *_software(),
        *_place(),
        _speed(profile),
        *_allocator(),
        *_sources(profile),
        *_artefacts(profile),
    ]
    console = Console()
    for finding in findings:
        mark = "[red]missing[/red]" if finding.remedy else "[green]ok[/green]"
        console.print(
            f"{mark:>8} {escape(finding.what)}"
            + (f" → {escape(finding.remedy)}" if finding.remedy else ""),
            soft_wrap=True,
        )
    return not any(finding.remedy for finding in findings)


def _software() -> Iterator[Finding]:
    for name in TOOLS:
        found = shutil.which(name) is not None
        yield Finding(f"command {name}", "" if found else f"install {name}")
    for name in LIBRARIES:
        found = importlib.util.find_spec(name) is not None
        yield Finding(f"library {name}", "" if found else "make install")


def _place() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 2**30
    yield Finding(
        f"{free:.0f} GiB free",
        "" if free > MIN_FREE_GIB else f"free {MIN_FREE_GIB} GiB on this disk",
    )


def _speed(profile: Profile) -> Finding:
    """How fast this machine computes: being slow is no fault, but matters before a long run."""
    if torch.cuda.is_available():
        return Finding(f"{device_name()}, training in {profile.trainer.precision}")
    low = in_bfloat16(profile.trainer.precision)
    speed = multiplication_speed(torch.bfloat16 if low else torch.float32) / 1e9
    note = "; `nla profile quick` is made for CPUs as slow as this" if speed < SLOW else ""
    return Finding(
        f"{device_name()}: {speed:.0f} GFLOP/s in matrix products, training in"
        f" {profile.trainer.precision}{note}"
    )


def _allocator() -> Iterator[Finding]:
    """On a CPU the C library's allocator makes training slower, and more so in longer runs."""
    if sys.platform != "linux" or torch.cuda.is_available():
        return
    if (library := other_allocator()) is not None:
        yield Finding(f"memory from {library}")
        return
    advice = "training is faster with tcmalloc (apt-get install libtcmalloc-minimal4)"
    yield Finding(f"memory from the C library; {advice}")


def _sources(profile: Profile) -> Iterator[Finding]:
    for source, digest in (
        (profile.target.model, profile.target.sha256),
        (profile.corpus.source, profile.corpus.sha256),
        (profile.evaluation.embedder, profile.evaluation.embedder_sha256),
    ):
        if not is_package(source):
            continue
        try:
            package_path(source, digest)
            yield Finding(source)
        except NlaError as error:
            yield Finding(source, str(error))


def _artefacts(profile: Profile) -> Iterator[Finding]:
    """Those of the trunk, of every pair."""
    trunk, pairs, name = TrunkPlaces(profile.name), range(profile.warm_starts), profile.name
    make = "dvc repro" if is_active(name) else f"nla profile {name} && dvc repro"
    places = [(stage, trunk.of(stage)) for stage in SHARED]
    places += [("av_text", trunk.av_text(pair)) for pair in pairs]
    places += [("floors", trunk.floors(pair)) for pair in pairs]
    for stage, path in places:
        try:
            check_content(path, read_manifest(path, stage), stage)
            yield Finding(f"artefact {path}")
        except NlaError:
            yield Finding(f"artefact {path}", f"{make} {stage}")
    for stage, runs in {"av": trunk.av_run, "ar": trunk.ar_run}.items():
        for run in map(runs, pairs):
            finished = (run / "summary.json").exists()
            yield Finding(f"trained {stage.upper()} {run}", "" if finished else f"{make} {stage}")
