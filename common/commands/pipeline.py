"""The DVC pipeline, generated: the trunk's stages, and those of each experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.arms.arm import Arm
from common.arms.evaluation import Evaluation
from common.commands.facts import FLOORS
from common.commands.pipeline_files import ROOT_FILE, write_file
from common.errors import NlaError
from common.experiment import Experiment, load_experiment
from common.manifest import manifest_file
from common.params import known_experiments
from common.paths import CODE, EXPERIMENTS, TrunkPlaces, report_file, results_folder
from common.profile import Profile, read_profile
from common.trunk.choice import SECTIONS
from common.trunk.named import trunk_named

PROFILE = "${profile}"
"""What DVC replaces by the active profile."""
PROFILE_FILE = f"common/profiles/{PROFILE}.yaml"
KEPT = {"cache": False, "persist": True}
"""Options of runs and activations: they continue where they were, and are too big to cache."""
SMALL = {"persist": True}
"""Options of tables: a stage decides itself whether the one that is there is up to date."""
Stages = dict[str, Any]


def write_pipeline() -> list[Path]:
    """Write dvc.yaml of the root and of every experiment; returns those that have changed."""
    names = known_experiments()
    scale = read_profile("smoke").replace(name=PROFILE)
    written = {ROOT_FILE: (root_stages(names), ["params.yaml"])}
    for name in names:
        stages = experiment_stages(load_experiment(name), scale)
        written[EXPERIMENTS / name / "dvc.yaml"] = (stages, ["../../params.yaml"])
    return [file for file, content in written.items() if write_file(file, *content)]


def root_stages(experiments: Sequence[str]) -> Stages:
    """The trunk, and an entry for each experiment, named with the `/` that shells complete."""
    found: Stages = {
        "code": {
            "cmd": f"nla code --profile {PROFILE}",
            "always_changed": True,
            "outs": [{str(CODE): {"cache": False}}],
        }
    }
    places = TrunkPlaces(PROFILE)
    for stage in SECTIONS:
        found[stage] = trunk_stage(stage, places, f"stages.{stage}")
    for name in experiments:
        report = str(report_file(PROFILE, name))
        plain, slash = f"experiments/{name}", f"experiments/{name}/"
        for entry, other in ((plain, slash), (slash, plain)):
            # What one of them has seen, the other has: else `dvc status` would never be clean.
            command = f"echo {report} && dvc commit --quiet --force {other}"
            found[entry] = {"cmd": command, "deps": [report]}
    return found


def trunk_stage(stage: str, places: TrunkPlaces, code: str, own: Stages | None = None) -> Stages:
    """One stage of a trunk; `own` is an additional entry of `params`."""
    sections, after = SECTIONS[stage]
    trunk = f" --trunk {places.name}" if places.name else ""
    deps = [file for earlier in after for file in _files(places.of(earlier))]
    return {
        "cmd": f"nla stage {stage}{trunk} --profile {PROFILE}",
        **({"deps": deps} if deps else {}),
        "params": [{str(CODE): [code]}, *([own] if own else []), {PROFILE_FILE: [*sections]}],
        "outs": _outs(stage, places.of(stage)),
    }


def experiment_stages(experiment: Experiment, scale: Profile) -> Stages:
    """The stages of its own trunks, its arms, its evaluations, its results and its report."""
    params = experiment.params
    arms = [experiment.arm(name, scale) for name in params.arms]
    compared = [arm for arm in arms if arm.compared]
    if taken := sorted({arm.label for arm in compared} & {*FLOORS}):
        where = EXPERIMENTS / experiment.name / "params.yaml"
        what = f"arm {taken[0]!r} has the name of a reference, which every report shows"
        raise NlaError(what, where=where, remedy="rename it")
    found = _trunk_stages(experiment, scale)
    for arm in arms:
        if not arm.plan.label:
            found[f"{experiment.name}-{arm.name}"] = _arm_stage(arm)
    runs = [str(arm.folder) for arm in compared]
    for evaluation in experiment.evaluations:
        if evaluation.has_stage:
            stage = _evaluation_stage(experiment, evaluation, compared)
            found[f"{experiment.name}-{evaluation.name}"] = stage
    places = [place for one in experiment.evaluations for place in one.places(compared)]
    gathered = [*runs, *map(str, places)]
    found[f"{experiment.name}-results"] = _results_stage(experiment, gathered)
    found[f"{experiment.name}-report"] = _report_stage(experiment.name)
    return {name: {"wdir": "../.."} | stage for name, stage in found.items()}


def _trunk_stages(experiment: Experiment, scale: Profile) -> Stages:
    name, found = experiment.name, {}
    for trunk in experiment.params.trunks:
        places = trunk_named(f"{name}/{trunk}", scale).places
        own = {f"experiments/{name}/params.yaml": [f"trunks.{trunk}"]}
        for stage in (stage for stage in SECTIONS if stage in places.own):
            code = f"stages.{stage}"
            if stage == "explanations":
                code = f"experiments.{name}.trunks.{trunk}"
            found[f"{name}-{trunk}-{stage}"] = trunk_stage(stage, places, code, own)
    return found


def _arm_stage(arm: Arm) -> Stages:
    experiment, name = arm.plan.experiment, arm.name
    own = [f"arms.{name}", "only", "seeds", "search"]
    return {
        "cmd": f"nla run {experiment} --arm {name} --profile {PROFILE}",
        "deps": [
            file for need in (*arm.needs(0), *arm.tested_needs()) for file in _files(need.place)
        ],
        "params": [
            {str(CODE): [f"experiments.{experiment}.runs"]},
            {f"experiments/{experiment}/params.yaml": own},
            *_named_trunk(arm.plan.trunk.places.name),
            {PROFILE_FILE: arm.profile_keys()},
        ],
        "outs": [{str(arm.folder): {**KEPT}}],
    }


def _named_trunk(name: str) -> list[Stages]:
    """What a trunk replaces, as an entry of `params`: seeds, rollouts; none for the profile's."""
    experiment, _, trunk = name.partition("/")
    return [{f"experiments/{experiment}/params.yaml": [f"trunks.{trunk}"]}] if trunk else []


def _evaluation_stage(
    experiment: Experiment, evaluation: Evaluation, arms: Sequence[Arm]
) -> Stages:
    name = experiment.name
    return {
        "cmd": f"nla evaluate {name} {evaluation.name} --profile {PROFILE}",
        "deps": [str(arm.folder) for arm in arms],
        "params": [
            {str(CODE): [f"experiments.{name}.evaluations"]},
            {f"experiments/{name}/params.yaml": ["arms", "only", "seeds"]},
            *_named_trunk(arms[0].plan.trunk.places.name),
            {PROFILE_FILE: [*evaluation.sections]},
        ],
        "outs": [{str(place): {**KEPT}} for place in evaluation.places(arms)],
    }


def _results_stage(experiment: Experiment, runs: Sequence[str]) -> Stages:
    name, own = experiment.name, ["arms", "only", "seeds", "search"]
    if experiment.params.trunks:
        own.append("trunks")
    return {
        "cmd": f"nla collect {name} --profile {PROFILE}",
        "deps": [*runs],
        "params": [
            {str(CODE): [f"experiments.{name}.results"]},
            {f"experiments/{name}/params.yaml": own},
            {PROFILE_FILE: ["tuning", "evaluation"]},
        ],
        "outs": [{str(results_folder(PROFILE, name)): {"cache": False}}],
    }


def _report_stage(name: str) -> Stages:
    report = report_file(PROFILE, name)
    return {
        "cmd": f"nla report {name} --profile {PROFILE}",
        "deps": [str(results_folder(PROFILE, name))],
        "params": [{str(CODE): [f"experiments.{name}.report"]}],
        "outs": [
            {str(place): {"cache": False}}
            for place in (report, report.with_suffix(".details.md"), report.with_suffix(""))
        ],
    }


def _files(place: Path) -> list[str]:
    """A table with its manifest, or a folder."""
    if place.suffix != ".parquet":
        return [str(place)]
    return [str(place), str(manifest_file(place))]


def _outs(stage: str, place: Path) -> list[Any]:
    options = {"cache": False} if stage == "target" else KEPT
    small = place.suffix == ".parquet"
    return [{name: {**(SMALL if small else options)}} for name in _files(place)]
