"""Rules of the house that no linter knows."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from common.commands.trunk import STAGES

from common import warm_start
from common.arms import arm
from common.experiment import REPORT_ONLY, Experiment, load_experiment
from common.report.readme import rule_of
from common.report.results import CONTROL
from common.report.rule import load_rule

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


def test_stages_depend_on_the_code_that_their_runs_digest():
    """Else DVC would call a command that finds its run finished, or not call one that does not."""

    def code(dependencies: list[str]) -> set[str]:
        return {name for name in dependencies if not name.startswith(("data/", "runs/"))}

    assert code(stages(ROOT / "dvc.yaml")["av"]["deps"]) == set(warm_start.CODE)
    for name in EXPERIMENTS:
        stage = stages(ROOT / "experiments" / name / "dvc.yaml")[name]["do"]
        own = {path.relative_to(ROOT).as_posix() for path in own_code(name)}
        assert code(stage["deps"]) == set(arm.CODE) | own


def own_code(name: str) -> list[Path]:
    folder = ROOT / "experiments" / name
    return [file for file in folder.glob("[!_]*.py") if file.stem not in REPORT_ONLY]


def test_the_root_pipeline_runs_every_stage_of_the_trunk():
    named = [name for name in stages(ROOT / "dvc.yaml") if not name.startswith("experiments/")]
    assert named == list(STAGES)
    for name in named:
        command = stages(ROOT / "dvc.yaml")[name]["cmd"]
        assert command == f"nla stage {name} --profile ${{profile}}"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_complete_and_small(name: str):
    folder = ROOT / "experiments" / name
    needed = {"README.md", "__main__.py", "dvc.yaml", "experiment.py", "params.yaml", "rule.py"}
    assert needed <= {file.name for file in folder.iterdir()}
    assert lines(folder / "experiment.py") <= 150
    assert {f"{name}_results", f"{name}_report"} <= stages(folder / "dvc.yaml").keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_stage_names_its_profile(name: str):
    """Else what `nla profile` changes while DVC runs would change the stages that follow."""
    for stage in stages(ROOT / "experiments" / name / "dvc.yaml").values():
        assert stage.get("do", stage)["cmd"].endswith(" --profile ${profile}")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_arm_depends_on_whether_it_is_left_out(name: str):
    """Else an arm that is let in again counts as run, although it never was."""
    folder, own = ROOT / "experiments" / name, f"experiments/{name}/params.yaml"
    pipeline = stages(folder / "dvc.yaml")
    assert {own: ["arms.${key}", "only", "seeds", "search"]} in pipeline[name]["do"]["params"]
    for stage in pipeline.values():
        if stage.get("cmd") == f"nla neutral {name} --profile ${{profile}}":
            assert {own: ["arms", "only", "seeds"]} in stage["params"]
    values = yaml.safe_load((folder / "params.yaml").read_text())
    assert {"arms", "only", "seeds", "search"} <= values.keys(), "DVC knows no defaults"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_has_a_control_and_valid_arms(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    experiment = load_experiment(name)
    assert isinstance(experiment, Experiment)
    assert experiment.name == name
    assert next(iter(experiment.params.arms)) == CONTROL
    assert len({experiment.arm(arm).digest() for arm in experiment.params.arms}) == len(
        experiment.params.arms
    ), "two arms with the same settings"


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
