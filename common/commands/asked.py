"""What a command asks for, checked before any heavy import, so that a mistake shows at once."""

import sys
from typing import Any

import typer

from common.params import check_arm, check_seed, load_params
from common.paths import run_folder
from common.profile import Profile, active_profile, load_profile, read_profile
from common.trunk.named import trunk_named


def profile_read(name: str | None) -> Profile:
    """The profile of that name, or the active one, exactly as in its file."""
    return read_profile(active_profile() if name is None else name)


def profile_asked(name: str | None) -> Profile:
    """The profile with this machine's values; also sets its number of threads."""
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
    """The arms that are asked for and have such a seed; NlaError where none has it.

    Those that others are made from come first. Arms that are taken over from another experiment are
    left out: that one makes them.
    """
    params, scale = load_params(experiment), profile_read(profile)
    names = params.arms_at(scale.name)
    if arm is not None:
        check_arm(experiment, arm)
        if arm not in names:
            _leave_out(scale.name, experiment, arm)
            return []
        names = [arm]
    for name in [name for name in names if params.arms[name].taken_from]:
        typer.echo(f"{name}: taken over from {'/'.join(params.arms[name].taken_from or ())}")
        names.remove(name)
    if not names:
        return []
    trunks = {name: trunk_named(params.arms[name].trunk_in(experiment), scale) for name in names}
    seeds = {name: params.seeds_of(name, trunk.profile) for name, trunk in trunks.items()}
    check_seed(seed, seeds, experiment)
    one, scale = experiment_asked(experiment, profile)
    arms = [one.arm(name, scale) for name in names]
    found = {arm.name: arm for arm in sorted(arms, key=lambda arm: arm.compared)}
    check_seed(seed, {name: each.seeds for name, each in found.items()}, experiment)
    for name, each in found.items():
        if seed not in (None, *each.seeds):
            typer.echo(f"{name}: left out, its seeds are {', '.join(map(str, each.seeds))}")
    return [each for each in found.values() if seed in (None, *each.seeds)]


def trunk_asked(name: str, profile: Profile) -> Any:
    """The trunk of that name, or the profile's own."""
    return trunk_named(name, profile)


def spawn_sweep(arm: Any, workers: int) -> None:
    """Spend the arm's budget in several processes, if it has one and `workers` is above 1."""
    if workers <= 1 or not arm.plan.search:
        return
    import torch

    from common.lifecycle.identity import arguments
    from common.lifecycle.tune import sweep_of
    from common.processes import check_workers
    from common.tuning.study import open_study
    from common.tuning.sweep import spawn_workers

    check_workers(workers, arm.profile)
    open_study(sweep_of(arm))  # one process makes the tables before several need them
    command = [sys.executable, "-m", "common.cli", "sweep", *arguments(arm).split()]
    spawn_workers(command, workers, torch.cuda.device_count())


def _leave_out(profile: str, experiment: str, arm: str) -> None:
    """Write a line into the folder that the DVC stage of the arm must have written."""
    folder = run_folder(profile, experiment, arm, 0).parent
    folder.mkdir(parents=True, exist_ok=True)
    told = f"{arm} is not among the arms that {profile} runs (`only` in params.yaml)\n"
    (folder / "left_out.txt").write_text(told)
