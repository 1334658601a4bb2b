"""Finished runs are taken over to code that changes no number: by hand, with a reason."""

import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.arms.neutral import NeutralAR
from common.arms.reconstructor import ReconstructorArm, warm_start_ar
from common.arms.verbalizer import warm_start_av
from common.errors import NlaError
from common.lifecycle import adopt as adopting
from common.lifecycle.adopt import adopt
from common.lifecycle.check import check_current
from common.lifecycle.make import make_run
from common.manifest import is_current, manifest_file
from common.profile import Profile
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, plan_of

REASON = "a function was renamed"


@pytest.fixture
def golden(copied_warm: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes when the golden curves are compared, which always pass."""
    compared: list[str] = []
    monkeypatch.setattr(adopting, "check_golden_curves", lambda: compared.append("once"))
    monkeypatch.setattr(adopting, "git_commit", lambda: "c0ffee")
    return compared


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch):
    """Called, all code is another."""

    def change(told: str = "newer") -> None:
        for place in ("identity", "adopt"):
            monkeypatch.setattr(f"common.lifecycle.{place}.code_digest", lambda *_, **__: told)

    return change


def reader(profile: Profile) -> ReconstructorArm:
    """An arm that is made in half a second."""
    return ReconstructorArm(plan_of(profile, "reader", seeds=(0, 1)))


def files_of(root: Path) -> dict[str, tuple[int, int]]:
    """When each weight, table and manifest was written."""
    found = [*root.rglob("*.safetensors"), *root.rglob("*.parquet"), *root.rglob("*.json")]
    return {str(f.relative_to(root)): (f.stat().st_mtime_ns, f.stat().st_size) for f in found}


def test_runs_of_other_code_alone_are_stamped(golden: list[str], newer: Any, two_steps: Profile):
    one = reader(two_steps)
    run = make_run(one, 0)
    code, summary = run.config["code"], run.summary
    kept = files_of(run.checkpoint)
    newer()
    with pytest.raises(NlaError, match="a run of other code than today's"):
        check_current(one, 0)
    stamped = adopt([one], REASON)
    assert golden == ["once"]
    assert str(run.path) in stamped
    check_current(one, 0)
    [note] = run.adopted
    assert note["old"] == code
    assert note["new"] == {"trained": "newer", "tested": "newer"}
    assert (note["reason"], note["commit"]) == (REASON, "c0ffee")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", note["when"])
    assert run.summary == summary
    assert files_of(run.checkpoint) == kept
    assert adopt([one], REASON) == [], "nothing is left to do"
    assert len(run.adopted) == 1


def test_what_the_runs_stand_on_is_stamped_too(golden: list[str], newer: Any, two_steps: Profile):
    choice = choose_trunk(two_steps)
    places = choice.places
    tables = [places.av_text(0), places.av_text(1), places.floors(0), places.floors(1)]
    tables.append(places.last_tokens)
    before = {file: json.loads(manifest_file(file).read_text()) for file in tables}
    newer()
    stamped = adopt([reader(two_steps)], REASON)
    runs = [warm.run_folder(pair).path for warm in both(choice) for pair in (0, 1)]
    assert set(stamped) == {*map(str, [places.activations, *runs, *tables])}
    for file in tables:
        fields = json.loads(manifest_file(file).read_text())
        assert fields["code"] == "newer"
        assert fields["digest"] == before[file]["digest"]
        [note] = fields["adopted"]
        assert (note["old"], note["new"]) == (before[file]["code"], "newer")
        assert is_current(file, "newer")
    for warm in both(choice):
        check_current(warm, 1)


def both(choice: Any) -> list[Any]:
    return [warm_start_av(choice), warm_start_ar(choice)]


def test_activations_that_were_adopted_are_not_read_again(
    golden: list[str], newer: Any, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    choice = choose_trunk(two_steps)
    before = files_of(choice.places.activations)
    newer()
    adopt([reader(two_steps)], REASON)
    from common.stages import activations

    monkeypatch.setattr(activations, "code_digest", lambda *_, **__: "newer")
    activations.make(choice)
    after = files_of(choice.places.activations)
    shards = [name for name in before if name.startswith("shard-")]
    assert shards
    assert {name: after[name] for name in shards} == {name: before[name] for name in shards}


@pytest.mark.parametrize("change", ["trained", "tested", "data"])
def test_what_differs_in_more_is_left_alone(
    change: str, golden: list[str], newer: Any, two_steps: Profile
):
    run = make_run(reader(two_steps), 0)
    config, summary = run.config_file.read_text(), run.summary_file.read_text()
    newer()
    changed = two_steps
    if change == "trained":
        changed = two_steps.replace(ar=two_steps.ar.replace(weight_decay=0.02))
    elif change == "tested":
        changed = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    else:
        manifest = manifest_file(choose_trunk(two_steps).places.explanations)
        found = json.loads(manifest.read_text())
        manifest.write_text(json.dumps(found | {"digest": "another"}))
    stamped = adopt([reader(changed)], REASON)
    assert str(run.path) not in stamped
    assert run.config_file.read_text() == config
    assert run.summary_file.read_text() == summary


def test_a_run_before_an_option_with_a_default_came_is_taken_over(
    golden: list[str], newer: Any, two_steps: Profile
):
    run = make_run(reader(two_steps), 0)
    text = run.config_file.read_text()
    assert "  epochs: 1\n" in text
    older = re.sub(r" +epochs: 1\n", "", text)
    run.config_file.write_text(older)
    newer()
    assert str(run.path) in adopt([reader(two_steps)], REASON)
    check_current(reader(two_steps), 0)
    assert run.config["trained"]["tuned"]["epochs"] == 1


def test_unfinished_runs_and_those_of_no_seed_are_left_alone(
    golden: list[str], newer: Any, two_steps: Profile
):
    runs = [make_run(reader(two_steps), seed) for seed in (0, 7)]
    runs[0].summary_file.unlink()
    newer()
    stamped = adopt([reader(two_steps)], REASON)
    assert not {str(run.path) for run in runs} & {*stamped}


def test_the_neutral_ar_is_taken_over_with_the_runs_that_it_reads(
    golden: list[str], newer: Any, two_steps: Profile
):
    fewer = two_steps.replace(tuning=two_steps.tuning.replace(seeds=(0,)))
    arms = [arm_named("baseline/control", fewer)]
    make_run(arms[0], 0)
    neutral = NeutralAR()
    neutral.run(arms)
    [own] = neutral.own_arms(arms)
    newer()
    stamped = adopt([*arms, own], REASON)
    assert "runs/smoke/neutral/baseline/0" in stamped
    assert neutral.collect(arms).rows is not None


@pytest.mark.parametrize("reason", ["", "  ", "\n"])
def test_without_a_reason_nothing_is_taken_over(
    reason: str, golden: list[str], newer: Any, two_steps: Profile
):
    newer()
    with pytest.raises(NlaError, match=r"no reason \[--reason\]: say why no number changes"):
        adopt([reader(two_steps)], reason)
    assert golden == []


def test_where_golden_curves_deviate_nothing_is_taken_over(
    copied_warm: Path, newer: Any, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    before = files_of(copied_warm)
    newer()
    done = SimpleNamespace(returncode=1, stdout="ar, step 3: 0.5 and not 0.4\nav\n", stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(NlaError, match=r"deviate \(ar, step 3: .*\): the code changes numbers"):
        adopt([reader(two_steps)], REASON)
    assert files_of(copied_warm) == before
