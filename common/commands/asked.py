"""What a command asks for, checked before anything heavy is imported: a mistake is told at once."""

import sys
from typing import Any

import typer

from common.params import check_arm, check_seed, load_params
from common.paths import run_folder
from common.profile import Profile, active_profile, load_profile, read_profile


def profile_read(name: str | None) -> Profile:
    """The profile that is named, or the active one, as its file has it."""
    return read_profile(active_profile() if name is None else name)


def profile_asked(name: str | None) -> Profile:
    """The profile as it is on this machine, its threads set."""
    profile = load_profile(profile_read(name).name)
    if profile.threads:
        import torch

        torch.set_num_threads(profile.threads)
    return profile


def experiment_asked(name: str, profile: str | None) -> tuple[Any, Profile]:
    """An experiment, and the profile."""
    load_params(name)
    scale = profile_asked(profile)
    from common.experiment import load_experiment

    return load_experiment(name), scale


def arms_asked(
    experiment: str, arm: str | None, profile: str | None, seed: int | None = None
) -> list[Any]:
    """The arms that are asked for and have such a seed; NlaError where none has it."""
    params, scale = load_params(experiment), profile_read(profile)
    names = params.arms_at(scale.name)
    if arm is not None:
        check_arm(experiment, arm)
        if arm not in names:
            _leave_out(scale.name, experiment, arm)
            return []
        names = [arm]
    check_seed(seed, {name: params.seeds_of(name, scale) for name in names}, experiment)
    one, scale = experiment_asked(experiment, profile)
    from common.material import Material

    found = {each.name: each for each in one.arms_of(Material(scale)) if each.name in names}
    check_seed(seed, {name: each.seeds for name, each in found.items()}, experiment)
    for name, each in found.items():
        if seed not in (None, *each.seeds):
            typer.echo(f"{name}: left out, its seeds are {', '.join(map(str, each.seeds))}")
    return [each for each in found.values() if seed in (None, *each.seeds)]


def spawn_sweep(arm: Any, workers: int) -> None:
    """Spend the arm's budget in several processes, if there is a budget and more than one."""
    if workers <= 1 or not arm.experiment.params.search:
        return
    import torch

    from common.processes import check_workers
    from common.tuning.study import open_study
    from common.tuning.sweep import spawn_workers

    check_workers(workers, arm.profile)
    open_study(arm.sweep())  # one process makes the tables, before several want them
    command = [sys.executable, "-m", "common.cli", "sweep", *arm.words.split()]
    spawn_workers(command, workers, torch.cuda.device_count())


def _leave_out(profile: str, experiment: str, arm: str) -> None:
    """Say so, and leave the folder that the DVC stage of the arm must have written."""
    typer.echo(f"{arm} is not among the arms that {profile} runs (`only` in params.yaml)")
    run_folder(profile, experiment, arm, 0).parent.mkdir(parents=True, exist_ok=True)
