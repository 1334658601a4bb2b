"""Arms that train an AR, on the tiny random model: two steps of each, then its test."""

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from ar_variants.flowchart.arm import FittedArm
from ar_variants.input_aware.arm import InputAwareArm
from common.arms.reconstructor import ReconstructorArm, load_ar, warm_start_ar
from common.config_base import Config
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.lifecycle.check import check_current
from common.models.checkpoint import load_trainable
from common.models.reconstructor import Reconstructor
from common.models.templates import ARTemplate
from common.models.verbalizer import Verbalizer
from common.profile import Profile
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA
from common.runs import RunFolder
from common.schema import AV, NEAREST_TEXT, NEXT_TOKENS_TEXT, TEACHER
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, arms_of, run_of


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    ("experiment", "arm"), arms_of(ReconstructorArm, (FittedArm, InputAwareArm))
)
def test_a_reconstructor_arm_trains_two_steps_and_is_tested(
    experiment: str, arm: str, two_steps: Profile
):
    one = arm_named(f"{experiment}/{arm}", two_steps)
    folder = run_of(one)
    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert set(RUNS_SCHEMA) - {"arm", "seed", "ar_learning_rate"} <= set(folder.summary)
    assert folder.summary["learning_rate"] == 1e-3
    assert "files" not in folder.trained

    check_rows(folder, two_steps)
    check_weights(one, folder)
    assert len(folder.samples()) == 20
    assert {"key", "text", TEACHER, AV, f"cosine_{AV}"} <= set(folder.samples()[0])

    written = folder.summary_file.stat().st_mtime_ns
    run_of(one)
    assert folder.summary_file.stat().st_mtime_ns == written, "a finished run ran again"

    check_current(one, 0)
    same = two_steps.replace(evaluation=two_steps.evaluation.replace(resamples=101))
    check_current(arm_named(f"{experiment}/{arm}", same), 0)
    more = two_steps.replace(evaluation=two_steps.evaluation.replace(neutral_readers=9))
    check_current(arm_named(f"{experiment}/{arm}", more), 0)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    with pytest.raises(NlaError, match=r"a run of other evaluation than today's.*nla run"):
        check_current(arm_named(f"{experiment}/{arm}", other), 0)
    summary = folder.summary
    folder.summary_file.unlink()
    with pytest.raises(NlaError, match=r"unfinished run.*nla run"):
        check_current(one, 0)
    folder.finish(summary)


@pytest.mark.usefixtures("warm")
def test_a_reader_is_trained_on_the_texts_of_its_trunk_and_not_tested(two_steps: Profile):
    one = arm_named("ar_small_rl/reader_blocks_1", two_steps)
    assert one.seeds == (0, 1, 2), "a seed for each pair of its trunk"
    folder = run_of(one)
    assert {"parameters", "learning_rate", "dev_fve"} <= set(folder.summary)
    assert not folder.rows_file.exists()
    assert not folder.samples_file.exists()
    assert one.load(folder).decoder.config.num_hidden_layers == 1
    needs = {need.name: need.place for need in one.needs(2)}
    assert needs["av_text"] == Path("data/smoke/trunks/ar_small_rl/window/av_text")
    check_current(one, 0)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    check_current(arm_named("ar_small_rl/reader_blocks_1", other), 0)


def check_rows(folder: RunFolder, profile: Profile) -> None:
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows.columns) == set(ROWS_SCHEMA)
    assert set(rows["source"]) == {TEACHER, AV, NEAREST_TEXT, NEXT_TOKENS_TEXT}
    assert set(rows.select("arm", "seed").unique().rows()) == {(folder.identity[2], 0)}
    conditions = {"original", "shuffled", "quotes_stripped", "random_stripped", "prefix_4"}
    assert conditions <= set(rows["transform"])
    assert rows.filter("applied")["squared_error"].is_finite().all()
    keys = len(TestSet(Trunk(choose_trunk(profile))).keys)
    counts = {
        (transform, n) for _, transform, n in rows.group_by("source", "transform").len().rows()
    }
    assert {n for name, n in counts if name in ("original", "shuffled")} == {keys}
    assert {n for name, n in counts if name not in ("original", "shuffled")} == {keys // 2}
    for count in (0, 1, 4):
        assert rows.filter("applied")[f"error_beyond_{count}"].is_finite().all()
    assert set(folder.summary["variances"]) == {"beyond_0", "beyond_1", "beyond_4"}


def check_weights(one: Any, folder: RunFolder) -> None:
    trained = one.build(one.trunk(0))
    fresh = [p.clone() for p in trained.parameters()]
    load_trainable(trained, folder.weights("ar.safetensors"), one.metadata(trained, one.trunk(0)))
    assert any(not torch.equal(*pair) for pair in zip(trained.parameters(), fresh, strict=True))
    for parameter, before in zip(trained.parameters(), fresh, strict=True):
        assert parameter.requires_grad or torch.equal(parameter, before), "a frozen weight moved"


@pytest.mark.usefixtures("warm")
def test_seeds_read_the_texts_of_the_pair_that_they_go_on_with(two_steps: Profile):
    one = arm_named("ar_small/control", two_steps)
    assert one.paired_seeds == one.seeds == (0, 1)
    needs = [{need.name: need.digest() for need in one.needs(seed)} for seed in (0, 1, 2)]
    assert {name for name in needs[0] if needs[0][name] != needs[1][name]} == {"av_text"}
    assert needs[2] == needs[0]
    assert one.trunk(0) is one.trunk(2)
    assert one.trunk(-1).pair == 0, "of a trial"


@pytest.mark.usefixtures("warm")
def test_what_the_test_alone_reads_trains_nothing_again(two_steps: Profile):
    one = arm_named("ar_small/control", two_steps)
    assert [need.name for need in one.tested_needs()] == ["last_tokens"]
    assert "last_tokens" not in one.trained_with(0)["data"]
    assert one.tested_with()["tested_data"] == one.trunk(0).digests(["last_tokens"])
    assert not warm_start_ar(choose_trunk(two_steps)).tested_needs()


@pytest.mark.usefixtures("warm")
def test_checkpoints_of_other_arms_or_weights_are_refused(two_steps: Profile):
    run = run_of(arm_named("ar_small/blocks_1", two_steps))
    other = arm_named("ar_small/blocks_2", two_steps)
    with pytest.raises(NlaError, match="checkpoint mismatch: arm is"):
        other.load(run)


@pytest.mark.usefixtures("warm")
def test_the_pair_of_a_run_is_the_warm_started_av_and_its_ar(two_steps: Profile):
    one = arm_named("ar_small/blocks_1", two_steps)
    verbalizer, reconstructor = one.test_pair(run_of(one))
    assert isinstance(verbalizer, Verbalizer)
    assert isinstance(reconstructor, Reconstructor)


@pytest.mark.usefixtures("warm")
def test_the_warm_starts_of_two_pairs_are_different(two_steps: Profile):
    choice = choose_trunk(two_steps)
    arm = warm_start_ar(choice)
    assert arm.seeds == (0, 1)
    first, second = (load_ar(Trunk(choice, pair)) for pair in arm.seeds)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in pairs)
    summaries = [arm.run_folder(pair).summary for pair in arm.seeds]
    assert summaries[0]["digest"] != summaries[1]["digest"]
    assert not arm.run_folder(0).rows_file.exists(), "it is tested as part of what it becomes"


def other_settings(two_steps: Profile, part: str) -> Profile:
    config: Config = getattr(two_steps, part).replace(learning_rate=0.5)
    return two_steps.replace(**{part: config})


def test_a_warm_start_that_does_not_match_is_refused(
    two_steps: Profile, warm: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of other settings, other data, another template."""
    with pytest.raises(NlaError, match=r"a run of other tuned than today's.*dvc repro ar"):
        load_ar(Trunk(choose_trunk(other_settings(two_steps, "ar"))))
    with monkeypatch.context() as patch:
        patch.setattr(Trunk, "digests", lambda *_: dict.fromkeys(ReconstructorArm.data, "another"))
        with pytest.raises(NlaError, match=r"a run of other data than today's.*dvc repro ar"):
            load_ar(Trunk(choose_trunk(two_steps)))
    monkeypatch.setattr(ARTemplate, "digest", lambda _: "another")
    with pytest.raises(NlaError, match=r"checkpoint mismatch: template is .* expected 'another'"):
        load_ar(Trunk(choose_trunk(two_steps)))


def test_a_warm_start_of_older_code_is_what_it_is(
    two_steps: Profile, warm: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("common.lifecycle.identity.code_digest", lambda *_, **__: "newer")
    assert isinstance(load_ar(Trunk(choose_trunk(two_steps))), Reconstructor)
    with pytest.raises(NlaError, match=r"a run of other code than today's.*dvc repro ar"):
        check_current(warm_start_ar(choose_trunk(two_steps)), 0)


@pytest.mark.usefixtures("warm")
def test_a_smaller_ar_passes_over_its_examples_more_often_for_as_many_operations(
    two_steps: Profile,
):
    """Of nine blocks: one block has less than nine times as many epochs, for its head is wide."""
    longer = two_steps.replace(ar=two_steps.ar.replace(epochs=2, most_epochs=15, validations=2))
    found = {}
    for name in ("control", "blocks_4", "blocks_1", "bag_of_words"):
        arm = arm_named(f"ar_small/{name}", longer)
        assert isinstance(arm, ReconstructorArm)
        trunk = arm.trunk(0)
        examples = arm.examples(trunk)
        found[name] = arm.with_epochs(trunk, arm.build(trunk), longer.ar, examples)
    epochs = {name: config.epochs for name, config in found.items()}
    assert epochs == {"control": 2, "blocks_4": 3, "blocks_1": 9, "bag_of_words": 15}
    assert found["blocks_4"].validations == 6
    once = two_steps.ar
    assert arm.with_epochs(trunk, arm.build(trunk), once, examples).epochs == once.epochs == 1
