"""Arms of reinforcement learning, on the tiny random model: two steps of each, then its test."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from common.arms.partner import finished
from common.arms.policy import PolicyArm, Splice
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.lifecycle.check import check_current
from common.lifecycle.make import make_run
from common.lifecycle.tune import tune
from common.models.reconstructor import Reconstructor
from common.paths import WARM_START
from common.profile import Profile
from common.report.results import RUNS_SCHEMA
from common.rollout.sampler import sample_explanations
from common.schema import AV, AV_UNTRAINED_AR, NEAREST_TEXT, NEXT_TOKENS_TEXT, TEACHER
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, arms_of, make_trunk, run_of

WRITERS = (NEAREST_TEXT, NEXT_TOKENS_TEXT)


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(PolicyArm))
def test_a_policy_arm_trains_two_steps_and_is_tested(experiment: str, arm: str, two_steps: Profile):
    one = arm_named(f"{experiment}/{arm}", two_steps)
    make_trunk(one.plan.trunk)
    *_, owner, reader, _ = one.partner(0).run.path.parts
    if owner != WARM_START:
        run_of(arm_named(f"{owner}/{reader}", two_steps))
    best = tune(one)
    assert best.params == {}
    folder = make_run(one, 0, best)
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == one.tuned.steps == (0 if arm.endswith("warm_start") else 2)
    assert set(RUNS_SCHEMA) - {"arm", "seed"} <= set(folder.summary)
    learns = bool(one.tuned.steps and one.tuned.trained != "ar")
    check_tables(folder, two_steps, learns)
    looks = sorted(folder.dev_texts.glob("*.parquet"))
    assert [int(look.stem) for look in looks] == ([0, 2] if rewards else [0])
    assert pl.read_parquet(looks[0]).height == two_steps.rl.validation_examples
    check_current(one, 0)
    verbalizer, reconstructor, _ = one.load(folder)
    assert isinstance(reconstructor, Reconstructor)
    if not learns:  # else adapters came back from bf16
        greedy = two_steps.rollout.replace(temperature=0.0)
        spoken = pl.read_parquet(folder.texts_file)
        keys, texts = (spoken[name].to_list()[:4] for name in ("key", "explanation"))
        inputs = one.trunk(0).inputs[keys]
        assert sample_explanations(verbalizer, inputs, greedy, precision="32-true") == texts
    if not rewards:
        read = pl.read_parquet(folder.rows_file).filter(transform="original").sort("key")
        own, untrained = (read.filter(source=s)["squared_error"] for s in (AV, AV_UNTRAINED_AR))
        assert own.to_list() == pytest.approx(untrained.to_list())


def check_tables(folder: Any, profile: Profile, learns: bool) -> None:
    keys = len(TestSet(Trunk(choose_trunk(profile))).keys)
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows["source"]) == {AV, AV_UNTRAINED_AR, TEACHER, *WRITERS}
    counts = {
        (transform, n) for _, transform, n in rows.group_by("source", "transform").len().rows()
    }
    assert {n for name, n in counts if name in ("original", "shuffled")} == {keys}
    assert {n for name, n in counts if name not in ("original", "shuffled")} == {keys // 2}
    beyond = rows.filter("applied").select("error_beyond_0", "error_beyond_1", "error_beyond_4")
    assert beyond.null_count().sum_horizontal().item() == 0
    assert set(folder.summary["variances"]) == {"beyond_0", "beyond_1", "beyond_4"}
    spoken = pl.read_parquet(folder.texts_file)
    assert dict(spoken["split"].value_counts().iter_rows()) == {
        "test": keys,
        "dev": 24,
        "ar_sft": 4,
    }
    measures = pl.read_parquet(folder.measures_file)
    assert {"splice_kl", "best_of_1", "best_of_2", "tokens"} <= set(measures["measure"])
    assert measures["value"].is_finite().all()
    gone = measures.filter(measure="sampled_kl")["value"]
    assert (gone.max() > 0) == learns


@pytest.mark.usefixtures("warm")
def test_an_arm_in_which_nothing_learns_runs_once_for_each_pair(two_steps: Profile):
    long = two_steps.replace(tuning=two_steps.tuning.replace(seeds=(0, 1, 2, 3, 4)))
    control, start = (arm_named(f"baseline/{arm}", long) for arm in ("control", "warm_start"))
    assert control.seeds == control.paired_seeds == start.paired_seeds == (0, 1, 2, 3, 4)
    assert start.seeds == (0, 1)
    assert [start.pair_of(seed) for seed in start.paired_seeds] == [0, 1, 0, 1, 0]
    alone = long.replace(warm_starts=1)
    assert arm_named("baseline/warm_start", alone).seeds == (0,)


@pytest.mark.usefixtures("warm")
def test_each_seed_goes_on_with_the_av_and_the_ar_of_its_pair(two_steps: Profile):
    start = arm_named("baseline/warm_start", two_steps)
    runs = [run_of(start, seed) for seed in (0, 1)]
    for seed, run in enumerate(runs):
        texts = pl.read_parquet(run.texts_file).filter(split="test").sort("key")
        spoken = start.trunk(seed).explanations(AV).filter(split="test").sort("key")
        assert texts["explanation"].equals(spoken["explanation"])
    loaded = [start.load(run) for run in runs]
    for first, second in zip(*loaded, strict=True):
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        assert any(not torch.allclose(*pair) for pair in pairs)


@pytest.mark.usefixtures("warm")
def test_a_run_whose_adapters_have_another_shape_is_refused(two_steps: Profile):
    """After the tests of these arms, or on its own."""
    folder = run_of(arm_named("baseline/control", two_steps))
    wider = two_steps.replace(rl=two_steps.rl.replace(lora_rank=8))
    with pytest.raises(NlaError, match="another architecture"):
        arm_named("baseline/control", wider).load(folder)


def test_weights_on_another_warm_start_are_refused(copied_warm: Path, two_steps: Profile):
    """They mean nothing there: adapters are steps from it."""
    one = arm_named("baseline/control", two_steps)
    folder = run_of(one)
    (copied_warm / "runs/smoke/baseline/control/0").rename(
        copied_warm / "runs/smoke/baseline/control/1"
    )
    with pytest.raises(NlaError, match="checkpoint mismatch: warm_start is"):
        one.load(type(folder)(folder.path.with_name("1")))


def test_a_policy_that_gains_nothing_more_is_done(copied_warm: Path, two_steps: Profile):
    """At a rate of next to nothing the look before the first step is the best."""
    rates = {"learning_rate": 1e-12, "ar_learning_rate": 1e-12}
    long = two_steps.rl.replace(steps=6, validations=3, patience=1, **rates)
    folder = run_of(arm_named("baseline/control", two_steps.replace(rl=long)), 1)
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == 2
    assert "no better dev FVE in 1 looks" in folder.summary["flattened"]


@pytest.mark.usefixtures("warm")
def test_the_true_activation_loses_no_reward_by_its_splice(two_steps: Profile):
    trunk = Trunk(choose_trunk(two_steps))
    keys = trunk.activations(["rl"], ["key"])["key"].to_list()[:3]
    vectors = trunk.store[keys]
    both = torch.stack([vectors, torch.randn(vectors.shape)], 1).flatten(0, 1)
    lost = Splice(trunk)(keys, both).view(3, 2)
    assert lost[:, 0].tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert (lost[:, 1] > 1e-4).all()


@pytest.mark.usefixtures("warm")
def test_the_ar_of_another_arm_must_have_been_made_and_be_current(
    two_steps: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run_of(arm_named("ar_small_rl/reader_blocks_1", two_steps))
    one = arm_named("ar_small_rl/blocks_1", two_steps)
    partner = one.partner(0)
    assert partner.learning_rate_factor() == 1
    [need] = [need for need in one.needs(0) if need.name == "ar"]
    assert need.place == Path("runs/smoke/ar_small_rl/reader_blocks_1")
    assert need.digest() == partner.run.summary["digest"]
    changed = two_steps.replace(ar=two_steps.ar.replace(warmup_fraction=0.5))
    other = arm_named("ar_small_rl/blocks_1", changed)
    with pytest.raises(
        NlaError, match=r"a run of other .*tuned.* than today's.*nla run ar_small_rl"
    ):
        other.partner(0).need.digest()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(Path(__file__).parents[2] / "experiments")
    with pytest.raises(NlaError, match="this run has not been made"):
        arm_named("ar_small_rl/blocks_1", two_steps).partner(0).need.digest()


@pytest.mark.usefixtures("warm")
def test_an_ar_of_other_texts_or_of_another_pair_is_refused(two_steps: Profile):
    trunk = arm_named("ar_small_rl/blocks_1", two_steps).trunk(0)
    with pytest.raises(NlaError, match="ar_small/blocks_1 reads the texts of another trunk"):
        finished("ar_small", "blocks_1", trunk, 0)
    with pytest.raises(NlaError, match="baseline/control trains no AR"):
        finished("baseline", "control", trunk, 0)
    seeds = {0: 0, 1: 1, 2: 2, 5: 2}
    for seed, own in seeds.items():
        pair = arm_named("ar_small_rl/blocks_1", two_steps).trunk(seed)
        assert finished("ar_small_rl", "reader_blocks_1", pair, seed).run.seed == own
    lost = Trunk(trunk.choice, pair=7)
    with pytest.raises(NlaError, match="reader_blocks_1 has no run of pair 7"):
        finished("ar_small_rl", "reader_blocks_1", lost, 7)
