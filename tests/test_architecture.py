"""Rules of the house that no linter knows."""

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from common import code
from common.commands import stage_code
from common.commands.pipeline import experiment_stages, write_pipeline
from common.commands.pipeline_files import check_files
from common.errors import NlaError
from common.experiment import Experiment, load_experiment
from common.profile import Profile, read_profile
from common.report.readme import rule_of
from common.report.results import CONTROL
from common.report.rule import load_rule
from common.stages.run import STAGES
from tests.own_experiments import own_experiments

ROOT = Path(__file__).parent.parent
PACKAGES = ("decomposition", "common", "ar_variants", "experiments", "bench")
EXPERIMENTS = sorted(file.parent.name for file in ROOT.glob("experiments/*/experiment.py"))
HEAVY = ("torch", "lightning", "transformers", "datasets", "mlflow", "optuna", "polars", "sklearn")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "misc", "manager", "managers"}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def stages(file: Path) -> dict:
    return yaml.safe_load(file.read_text())["stages"]


def lines(file: Path) -> int:
    return len(file.read_text().splitlines())


def test_the_packages_are_named_everywhere():
    """Whose code is digested is built, linted and checked."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    tools = settings["tool"]
    ours = set(PACKAGES) - {"bench"}
    assert set(code.PACKAGES) == ours
    assert set(tools["importlinter"]["root_packages"]) == ours
    assert set(tools["basedpyright"]["include"]) == ours
    packed = tools["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in packed} == ours


def test_no_file_is_longer_than_300_lines():
    assert {
        str(file.relative_to(ROOT)): lines(file) for file in sources() if lines(file) > 300
    } == {}


def test_no_function_is_longer_than_50_lines():
    long = {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in sources()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 50
    }
    assert long == set()


def test_nothing_is_called_utils():
    found = {
        str(path.relative_to(ROOT))
        for package in (*PACKAGES, "tests")
        for path in (ROOT / package).rglob("*")
        if path.stem in FORBIDDEN_NAMES
    }
    assert found == set()


def test_the_root_pipeline_and_the_experiment_folders_agree():
    entries = {name for name in stages(ROOT / "dvc.yaml") if name.startswith("experiments/")}
    plain = {f"experiments/{name}" for name in EXPERIMENTS}
    assert entries == plain | {f"{name}/" for name in plain}, "with and without trailing slash"
    folders = {file.parent.name for file in ROOT.glob("experiments/*/*.py")}
    assert folders == set(EXPERIMENTS), "a folder without experiment.py"


def test_the_pipeline_is_what_nla_pipeline_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever adds an arm, a trunk or an experiment writes it anew."""
    files = [Path("dvc.yaml"), *(Path("experiments") / name / "dvc.yaml" for name in EXPERIMENTS)]
    for name in ("common", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in EXPERIMENTS:
        place = tmp_path / "experiments" / name
        place.mkdir(parents=True)
        for own in ("experiment.py", "params.yaml"):
            (place / own).symlink_to(ROOT / "experiments" / name / own)
    monkeypatch.chdir(tmp_path)
    assert sorted(write_pipeline()) == sorted(files)
    for file in files:
        assert file.read_text() == (ROOT / file).read_text(), "run `nla pipeline`"
    check_files()
    assert write_pipeline() == [], "nothing has changed since"


def test_an_arm_named_like_a_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their rows could not be told apart, which would be noticed after the last run only."""
    (tmp_path / "common").symlink_to(ROOT / "common")
    own_experiments(tmp_path, {"arms": {"control": {"blocks": None}, "look_up": {"blocks": 1}}})
    monkeypatch.chdir(tmp_path)
    scale = read_profile("smoke")
    with pytest.raises(NlaError, match=r"'look_up' has the name of a reference.*rename it"):
        experiment_stages(load_experiment("ar_small"), scale)


def test_every_stage_depends_on_the_digest_of_its_code():
    """Else DVC would call a command that finds its run finished, or not call one that does not."""
    for file, stage, content in all_stages():
        if stage == "code" or stage.startswith("experiments/"):
            continue
        keys = [key for entry in content["params"] for key in entry.get("data/code.json", [])]
        assert len(keys) == 1, f"{file}: {stage}"
        assert not [dep for dep in content.get("deps", []) if dep.endswith(".py")]


def test_the_digests_that_stages_depend_on_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smoke: Profile
):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(stage_code, "CODE", tmp_path / "code.json")
    stage_code.write_code(smoke)
    written = json.loads((tmp_path / "code.json").read_text())
    for _, _, content in all_stages():
        for entry in content.get("params", []):
            for key in entry.get("data/code.json", []):
                found = written
                for part in key.split("."):
                    found = found[part]
                assert isinstance(found, str)
                assert found


def all_stages() -> Iterator[tuple[Path, str, dict]]:
    for file in (ROOT / "dvc.yaml", *sorted(ROOT.glob("experiments/*/dvc.yaml"))):
        for stage, content in stages(file).items():
            yield file, stage, content


def test_the_root_pipeline_runs_every_stage_of_the_trunk():
    named = [name for name in stages(ROOT / "dvc.yaml") if not name.startswith("experiments/")]
    assert named == ["code", *STAGES]
    for name in STAGES:
        command = stages(ROOT / "dvc.yaml")[name]["cmd"]
        assert command == f"nla stage {name} --profile ${{profile}}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_complete_and_small(name: str):
    folder = ROOT / "experiments" / name
    needed = {"README.md", "__main__.py", "dvc.yaml", "experiment.py", "params.yaml", "rule.py"}
    assert needed <= {file.name for file in folder.iterdir()}
    assert lines(folder / "experiment.py") <= 150
    assert {f"{name}-results", f"{name}-report"} <= stages(folder / "dvc.yaml").keys()


def test_every_stage_names_its_profile():
    """Else what `nla profile` changes while DVC runs would change the stages that follow."""
    for file, stage, content in all_stages():
        if not stage.startswith("experiments/"):
            assert content["cmd"].endswith(" --profile ${profile}"), f"{file}: {stage}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_arm_depends_on_whether_it_is_left_out(name: str):
    """Else an arm that is let in again counts as run, although it never was."""
    folder, own = ROOT / "experiments" / name, f"experiments/{name}/params.yaml"
    pipeline, values = (
        stages(folder / "dvc.yaml"),
        yaml.safe_load((folder / "params.yaml").read_text()),
    )
    for arm, entry in values["arms"].items():
        if "from" in entry:
            assert f"{name}-{arm}" not in pipeline
            continue
        params = pipeline[f"{name}-{arm}"]["params"]
        assert {own: [f"arms.{arm}", "only", "seeds", "search"]} in params
    for stage in pipeline.values():
        if stage["cmd"].startswith(f"nla evaluate {name} "):
            assert {own: ["arms", "only", "seeds"]} in stage["params"]
    assert {"arms", "only", "seeds", "search"} <= values.keys(), "DVC knows no defaults"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_a_control_and_valid_arms(
    name: str, monkeypatch: pytest.MonkeyPatch, smoke: Profile
):
    monkeypatch.chdir(ROOT)
    experiment = load_experiment(name)
    assert isinstance(experiment, Experiment)
    assert experiment.name == name
    assert next(iter(experiment.params.arms)) == CONTROL
    arms = [experiment.arm(arm, smoke) for arm in experiment.params.arms]
    told = {f"{type(arm)} {arm.plan.trunk.places.name} {arm.settings.digest()}" for arm in arms}
    assert len(told) == len(arms), "two arms with the same settings"


def test_an_experiment_asks_another_for_its_arms_alone():
    """By name: `from`, `trunk` and `finished` go through the core, so that each can be deleted."""
    for name in EXPERIMENTS:
        for file in (ROOT / "experiments" / name).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                module = node.module if isinstance(node, ast.ImportFrom) else None
                if module and module.startswith("experiments."):
                    assert module.split(".")[1] == name, file


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_decision_rule_stands_in_the_readme(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    assert rule_of(ROOT / "experiments" / name / "README.md") == load_rule(name).words(), (
        f"if that is meant, `python -m common.report.readme {name}` writes it anew"
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_decision_rule_is_light(name: str):
    heavy = "torch", "matplotlib", "sklearn", "scipy"
    code = f"""
import sys
import experiments.{name}.rule
print([name for name in {heavy} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_command_line_answers_before_anything_heavy_is_imported():
    code = f"""
import json, sys
from common.cli import app
try:
    app(["--help"])
except SystemExit as stop:
    assert not stop.code
print(json.dumps([name for name in {HEAVY} if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *shown, heavy = done.stdout.strip().splitlines()
    assert any("explain" in line for line in shown)
    assert json.loads(heavy) == []
