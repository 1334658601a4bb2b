"""Keep finished runs under new code that changes no number: the only exception to the digests."""

import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.arms.arm import Arm
from common.arms.reconstructor import warm_start_ar
from common.arms.verbalizer import warm_start_av
from common.code import ROOT, code_digest
from common.data.shards import adopt_shards
from common.errors import NlaError
from common.experiment import trunks_of
from common.lifecycle.check import made_with
from common.lifecycle.tune import known
from common.manifest import manifest_file, read_json, stamp_manifest
from common.provenance import git_commit
from common.runs import MadeWith, RunFolder
from common.trunk.choice import TrunkChoice

log = logging.getLogger(__name__)

GOLDEN = "tests/training/golden.py"
"""Recorded curves of the training of AR and AV and of reinforcement learning, both precisions."""
DEVIATIONS = """
import sys
from tests.training.golden import curves, deviations
found = deviations(curves())
print("\\n".join(found))
sys.exit(bool(found))
"""


def adopt(arms: Sequence[Arm], reason: str) -> list[str]:
    """Mark finished runs of some arms, and what they are made from, as made by the present code.

    A run that differs in more than code is left alone. Returns a line for each that was marked.
    NlaError when the golden curves differ, or the reason is empty.
    """
    if not reason.strip():
        raise NlaError("no reason", where="--reason", remedy="say why no number changes")
    check_golden_curves()
    note = {"reason": reason, "commit": git_commit(), "when": time.strftime("%Y-%m-%d")}
    stamped = []
    for trunk in trunks_of(arms).values():
        stamped += _adopt_trunk(trunk, note)
    return stamped + [line for arm in arms for line in _adopt_arm(arm, note)]


def check_golden_curves() -> None:
    """NlaError unless training gives the recorded curves."""
    log.info("comparing golden curves, half a minute")
    command = [sys.executable, "-c", DEVIATIONS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        told = (done.stdout or done.stderr).strip().splitlines() or ["no output"]
        first = told[0] if done.stdout.strip() else told[-1]
        what = f"the golden curves deviate ({first}): the code changes numbers"
        raise NlaError(what, where=GOLDEN, remedy="let the runs be made again with `dvc repro`")


def _adopt_trunk(choice: TrunkChoice, note: Mapping[str, str]) -> list[str]:
    places, stamped = choice.places, []
    if _stamp(places.activations, _stage_code("activations"), note):
        adopt_shards(places.activations, _stage_code("activations"))
        stamped.append(str(places.activations))
    if _stamp(places.last_tokens, _stage_code("last_tokens"), note):
        stamped.append(str(places.last_tokens))
    for warm in (warm_start_av(choice), warm_start_ar(choice)):
        stamped += _adopt_arm(warm, note)
    for pair in range(choice.profile.warm_starts):
        made = {"av_text": places.av_text(pair), "floors": places.floors(pair)}
        for stage, place in made.items():
            if _stamp(place, _stage_code(stage), note):
                stamped.append(str(place))
    return stamped


def _stage_code(stage: str) -> str:
    return code_digest(f"common.stages.{stage}", tests=False)


def _stamp(artefact: Path, code: str, note: Mapping[str, str]) -> bool:
    file = manifest_file(artefact)
    if not file.exists() or read_json(file, "").get("code") in (None, code):
        return False
    stamp_manifest(artefact, code, note)
    return True


def _adopt_arm(arm: Arm, note: Mapping[str, str]) -> list[str]:
    """Adopt its finished runs."""
    if (best := known(arm)) is None:
        log.info("%s is left alone: its study is not complete here", arm.folder)
        return []
    stamped = []
    for seed in arm.seeds:
        run = arm.run_folder(seed)
        if not run.summary_file.exists():
            continue
        made = made_with(arm, seed, best)
        differ = run.differs_from(made)
        others = [name for name in differ if name != "code" and not _only_new_keys(run, made, name)]
        if others:
            log.info("%s is left alone: other %s", run.path, ", ".join(others))
        elif differ:
            run.adopt(made, note)
            stamped.append(str(run.path))
    return stamped


def _only_new_keys(run: RunFolder, made: MadeWith, name: str) -> bool:
    """Whether settings differ only by options that are new, which have their defaults."""
    for part in ("trained", "tested"):
        expected: Any = getattr(made, part).get(name)
        found: Any = (run.config.get(part) or {}).get(name)
        if isinstance(expected, Mapping) and isinstance(found, Mapping):
            return all(name in expected and expected[name] == found[name] for name in found)
    return False
