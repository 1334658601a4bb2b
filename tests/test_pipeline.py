"""The pipeline through DVC in a fresh copy of the repository: killed, then to its end."""

import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
import yaml

from common.profile import Profile
from tests.clone import ROOT, Clone

PROFILES = sorted(file.stem for file in (ROOT / "common" / "profiles").glob("*.yaml"))
ARMS = list(yaml.safe_load((ROOT / "experiments/ar_small/params.yaml").read_text())["arms"])
OWN = "experiments/ar_small/dvc.yaml:ar_small"
EVERY_ARM = {f"{OWN}-{arm}" for arm in ARMS}
SMOKE = "common/profiles/smoke.yaml"
PARAMS = "experiments/ar_small/params.yaml"


def pipelines() -> Iterator[dict]:
    """Every stage of every dvc.yaml."""
    for file in (ROOT / "dvc.yaml", *ROOT.glob("experiments/*/dvc.yaml")):
        for stage in yaml.safe_load(file.read_text())["stages"].values():
            yield stage.get("do", stage)


def keys_of_profiles() -> list[str]:
    """What the stages name of them."""
    file = "common/profiles/${profile}.yaml"
    return [
        key
        for stage in pipelines()
        for entry in stage.get("params", [])
        if isinstance(entry, dict)
        for key in entry.get(file, [])
    ]


def test_what_the_stages_depend_on_has_no_default():
    """DVC knows none: so that `nla profile` refuses a file that lacks such a key."""
    assert keys_of_profiles()
    for key in keys_of_profiles():
        section: Any = Profile
        for part in key.split("."):
            field = section.model_fields[part]
            assert field.is_required(), key
            section = field.annotation


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_states_what_the_stages_depend_on(profile: str):
    values = yaml.safe_load((ROOT / "common" / "profiles" / f"{profile}.yaml").read_text())
    for key in keys_of_profiles():
        section = values
        for part in key.split("."):
            assert part in section, f"{profile}.yaml lacks {key}"
            section = section[part]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Reproduced after a kill during the activations and another one during an arm's training."""
    copy = Clone(tmp_path_factory.mktemp("clone"))
    copy.run("nla", "profile", "smoke")
    copy.edit(SMOKE, lambda values: values["activations"].update(shard_rows=8))

    copy.killed_when(
        "data/smoke/activations/shard-*.parquet", "dvc", "repro", "experiments/ar_small"
    )
    assert not (copy.place / "data/smoke/activations/manifest.json").exists()
    shards = copy.written("data/smoke/activations/shard-*.parquet")

    copy.killed_when(
        "runs/smoke/ar_small/*/0/resume/last.ckpt", "dvc", "repro", "experiments/ar_small"
    )
    assert shards.items() <= copy.written("data/smoke/activations/shard-*.parquet").items()
    finished = copy.written("runs/smoke/*/*/*/summary.json")
    assert len(finished) >= 3, "the AV and two trials"

    ran = copy.repro("experiments/ar_small")
    assert "activations" not in ran
    assert set(ran) >= EVERY_ARM
    assert finished.items() <= copy.written("runs/smoke/*/*/*/summary.json").items()
    return copy


@pytest.mark.slow
def test_a_finished_pipeline_is_left_alone_in_seconds(clone: Clone):
    runs = clone.written("runs/**/*")
    started = time.monotonic()
    assert clone.repro("experiments/ar_small") == []
    assert time.monotonic() - started < 20
    clone.repro("experiments/ar_small/")
    assert clone.repro("experiments/ar_small/") == []
    clone.run("nla", "run", "ar_small", "--arm", "control")
    assert clone.written("runs/**/*") == runs
    assert clone.changed() == set()


@pytest.mark.slow
def test_the_report_is_there_with_its_figures(clone: Clone):
    reports = clone.place / "reports"
    text = (reports / "smoke" / "ar_small.md").read_text()
    figures = re.findall(r"!\[.*?\]\((.+?)\)", text)
    assert figures
    for figure in figures:
        assert (reports / "smoke" / figure).stat().st_size > 0
    for arm in ARMS:
        assert f"`{arm}`" in text
    assert "(smoke/" not in (reports / "README.md").read_text(), "smoke shows nothing"


@pytest.mark.slow
def test_a_report_is_the_same_byte_for_byte(clone: Clone):
    report = clone.place / "reports" / "smoke" / "ar_small.md"
    before = report.read_bytes()
    clone.run("nla", "report", "ar_small")
    assert report.read_bytes() == before
    assert clone.changed() == set()


@pytest.mark.slow
def test_explain_doctor_and_the_module_work_on_what_was_made(clone: Clone):
    clone.repro("ar")
    clone.run("nla", "doctor")
    told = clone.run("nla", "explain", "The quiet river crosses the Mirel plain. " * 4)
    assert "explanation" in told
    assert "FVE" in told
    runs = clone.written("runs/**/*")
    clone.run(sys.executable, "-m", "experiments.ar_small")
    assert clone.written("runs/**/*") == runs


@pytest.mark.slow
def test_a_killed_reinforcement_learning_run_ends_as_if_it_had_not_been(clone: Clone):
    """Everything it logs, every explanation and every score, to the last digit."""
    command = ("nla", "run", "baseline", "--arm", "control", "--seed", "0")
    run = clone.place / "runs/smoke/baseline/control/0"
    clone.repro("ar")
    clone.run(*command)
    whole = run.rename(run.with_name("whole"))

    clone.killed_when("runs/smoke/baseline/control/0/resume/last.ckpt", *command)
    assert not (run / "summary.json").exists()
    clone.run(*command)
    for file in ["metrics.jsonl", "samples.jsonl"]:
        assert (run / file).read_text() == (whole / file).read_text()
    for table in ["rows.parquet", "measures.parquet"]:
        assert pl.read_parquet(run / table).equals(pl.read_parquet(whole / table)), table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "change", "stages"),
    [
        (
            PARAMS,
            {"search": {"learning_rate": {"low": 1e-4, "high": 1e-3}}},
            EVERY_ARM,
        ),
        (PARAMS, {"only": {"smoke": ["control"]}}, EVERY_ARM),
        (SMOKE, {"tuning": {"trials": 3}}, EVERY_ARM),
        (SMOKE, {"teacher": {"kind": "api"}}, {"explanations", *EVERY_ARM}),
        (SMOKE, {"rollout": {"temperature": 1.0}}, {"av_text", *EVERY_ARM}),
        (SMOKE, {"activations": {"layers": [7]}}, {"activations", "last_tokens"}),
    ],
    ids=["search", "only", "tuning", "teacher", "rollout", "layer"],
)
def test_a_changed_key_makes_only_what_reads_it_stale(
    clone: Clone, file: str, change: dict[str, dict], stages: set[str]
):
    def update(values: dict) -> None:
        for section, settings in change.items():
            values[section].update(settings)

    undo = clone.edit(file, update)
    assert clone.changed() - {f"{OWN}-results"} == stages
    undo()
    assert clone.changed() == set()


@pytest.mark.slow
def test_a_changed_arm_runs_alone(clone: Clone):
    runs = clone.written("runs/smoke/*/*/*/summary.json")
    clone.edit(PARAMS, lambda values: values["arms"].update(blocks_1={"blocks": 3}))
    clone.run("nla", "pipeline")
    ran = set(clone.repro("experiments/ar_small"))
    assert ran == {f"{OWN}-blocks_1", f"{OWN}-results", f"{OWN}-report", "experiments/ar_small"}
    now = clone.written("runs/smoke/*/*/*/summary.json")
    moved = {file.parent.parent.name for file, at in now.items() if runs.get(file) != at}
    assert moved == {"blocks_1"}


@pytest.mark.slow
def test_an_artefact_from_the_cache_comes_with_its_manifest(clone: Clone):
    manifest = clone.place / "data" / "smoke" / "corpus.manifest.json"
    before = manifest.read_bytes()
    undo = clone.edit(SMOKE, lambda values: values["corpus"].update(min_characters=1))
    assert clone.repro("corpus") == ["corpus"]
    assert manifest.read_bytes() != before
    undo()
    clone.repro("corpus")
    assert manifest.read_bytes() == before
    assert clone.changed() == set()


@pytest.mark.slow
def test_two_sweeps_of_two_workers_each_spend_one_budget_exactly(clone: Clone):
    clone.edit(SMOKE, lambda values: values["tuning"].update(trials=5))
    command = ("nla", "sweep", "ar_small", "--arm", "bag_of_words", "--workers", "2")
    with ThreadPoolExecutor(2) as both:
        first, second = both.map(lambda _: clone.run(*command), range(2))
    for told in (first, second):
        assert set(re.findall(r"bag_of_words: trial \d+ of (\d+)", told)) == {"5"}


@pytest.mark.slow
def test_a_run_on_two_processes_however_they_are_started(clone: Clone):
    """By `nla` itself, and by torchrun as on several nodes; last, for it makes arms anew."""
    clone.edit(SMOKE, lambda values: values["trainer"].update(devices=2))
    words = ("run", "ar_small", "--seed", "0", "--arm")
    clone.run("nla", *words, "blocks_1")
    clone.run("torchrun", "--nproc-per-node=2", "-m", "common.cli", *words, "blocks_2")
    for arm in ("blocks_1", "blocks_2"):
        config = yaml.safe_load(
            (clone.place / f"runs/smoke/ar_small/{arm}/0/config.yaml").read_text()
        )
        assert config["trained"]["trainer"]["devices"] == 2
        assert (clone.place / f"runs/smoke/ar_small/{arm}/0/summary.json").exists()
