"""Run a stage by its DVC name."""

import importlib

from common.errors import NlaError
from common.seeding import keyed_seed
from common.trunk.choice import SECTIONS, TrunkChoice

STAGES = tuple(SECTIONS)


def check_stage(name: str) -> None:
    """NlaError, which lists the stages, when there is no stage of that name."""
    if name not in STAGES:
        raise NlaError(f"unknown stage {name!r}", remedy=f"choose one of {', '.join(STAGES)}")


def run_stage(name: str, choice: TrunkChoice) -> None:
    """Bring the artefact of a stage up to date; each stage imports only what it needs."""
    check_stage(name)
    import torch

    torch.manual_seed(keyed_seed("stage", name) % 2**31)
    importlib.import_module(f"common.stages.{name}").make(choice)
