"""`data/code.json`: digests of the code behind each DVC stage, which the stages depend on."""

import hashlib

from common.code import ROOT, code_digest, evaluations_of
from common.commands.pipeline_files import check_files
from common.manifest import write_json
from common.params import known_experiments, load_params
from common.paths import CODE
from common.profile import Profile
from common.trunk.choice import SECTIONS

WARM_STARTS = {"av": "common.arms.verbalizer", "ar": "common.arms.reconstructor"}
"""Stages that make runs, and the modules that train these; no test belongs to them."""
RENDERING = ("common.report.publish", "common.report.render", "common.report.index")
TEMPLATES = ROOT / "common" / "report" / "templates"


def write_code(profile: Profile) -> None:
    """Write the digests; NlaError when a pipeline file is not what `nla pipeline` would write."""
    check_files()
    found = {
        "stages": {stage: stage_code(stage, profile.teacher.format) for stage in SECTIONS},
        "experiments": {name: experiment_code(name) for name in known_experiments()},
    }
    CODE.parent.mkdir(parents=True, exist_ok=True)
    write_json(CODE, found)


def stage_code(stage: str, teacher_format: str = "") -> str:
    """The digest of a stage of the trunk; `teacher_format` is `<module>:<function>` or empty."""
    if stage in WARM_STARTS:
        return code_digest(WARM_STARTS[stage], tests=False)
    modules = [f"common.stages.{stage}"]
    if stage == "explanations" and teacher_format:
        modules.append(teacher_format.partition(":")[0])
    return code_digest(*modules, tests=False)


def experiment_code(name: str) -> dict[str, object]:
    """Digests of an experiment: its runs, what collects them, its report, its trunks' formats."""
    parts = [f"experiments.{name}.{part}" for part in ("rule", "findings")]
    there = [part for part in parts if ROOT.joinpath(*part.split(".")).with_suffix(".py").exists()]
    trunks = load_params(name).trunks
    formats = {trunk: keys.get("teacher", {}).get("format", "") for trunk, keys in trunks.items()}
    return {
        "runs": code_digest(f"experiments.{name}.experiment"),
        "evaluations": code_digest(*evaluations_of(f"experiments.{name}.experiment")),
        "results": code_digest("common.commands.collect", f"experiments.{name}.experiment"),
        "report": f"{code_digest(*RENDERING, *there)} {_templates()}",
        "trunks": {trunk: stage_code("explanations", form) for trunk, form in formats.items()},
    }


def _templates() -> str:
    digest = hashlib.sha256()
    for file in sorted(TEMPLATES.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]
