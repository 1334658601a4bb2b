"""Every arm of reinforcement learning, in two steps."""

import polars as pl
import pytest
import torch

from common.arms.arm import Arm
from common.arms.policy import PolicyArm, Splice
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.experiment import load_experiment
from common.lifecycle.check import check_current
from common.lifecycle.make import make_run
from common.lifecycle.tune import NOTHING_TUNED, tune
from common.models.reconstructor import Reconstructor
from common.profile import Profile
from common.rollout.sampler import sample_explanations
from common.schema import AV, AV_UNTRAINED_AR, TEACHER
from common.tuning.study import Best
from tests.arms.two_steps import TUNED, arms_of


def spent(arm: Arm) -> Best:
    """As if a study had found the settings of these tests."""
    return TUNED if arm.plan.search else NOTHING_TUNED


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(PolicyArm))
def test_an_arm_trains_two_steps_and_is_tested(
    experiment: str, arm: str, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = load_experiment(experiment).arm(arm, two_steps)
    assert isinstance(one, PolicyArm)
    if experiment == "ar_small_rl":
        read = load_experiment("ar_small").arm(one.settings.ar, two_steps)
        make_run(read, 0, TUNED)
        monkeypatch.setattr("common.lifecycle.check.known", spent)
    folder = make_run(one, 0, NOTHING_TUNED)
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == (0 if arm == "warm_start" else 2)
    assert {"parameters", "ar_parameters", "train_tokens", "dev_fve"} <= set(folder.summary)
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows["source"]) == {AV, AV_UNTRAINED_AR, TEACHER}
    keys = TestSet(one.trunk(0)).keys
    assert set(rows.group_by("source", "transform").len()["len"]) == {len(keys)}
    written = pl.read_parquet(folder.texts_file)
    assert dict(written["split"].value_counts().iter_rows()) == {"test": len(keys), "ar_sft": 4}
    measures = pl.read_parquet(folder.measures_file)
    assert {"splice_kl", "best_of_1", "best_of_2", "tokens"} <= set(measures["measure"])
    assert measures["value"].is_finite().all()
    gone = measures.filter(measure="sampled_kl")["value"]
    assert (gone.max() > 0) == (bool(one.tuned.steps) and one.tuned.trained != "ar")
    looks = sorted(folder.dev_texts.glob("*.parquet"))
    assert [int(look.stem) for look in looks] == ([0] if arm == "warm_start" else [0, 2])
    assert pl.read_parquet(looks[0]).height == two_steps.rl.validation_examples
    check_current(one, 0)
    verbalizer, reconstructor = one.test_pair(folder)
    assert isinstance(reconstructor, Reconstructor)
    if not (one.tuned.steps and one.tuned.trained != "ar"):  # else adapters came back from bf16
        greedy = two_steps.rollout.replace(temperature=0.0)
        some, texts = (written[name].to_list()[:4] for name in ("key", "explanation"))
        vectors = one.trunk(0).store[some]
        assert sample_explanations(verbalizer, vectors, greedy, precision="32-true") == texts
    if arm == "warm_start":
        read = rows.filter(transform="original").sort("key")
        own, untrained = (read.filter(source=s)["squared_error"] for s in (AV, AV_UNTRAINED_AR))
        assert own.to_list() == pytest.approx(untrained.to_list())


@pytest.mark.usefixtures("repository")
def test_a_run_whose_adapters_have_another_shape_is_refused(two_steps: Profile):
    """After the tests of these arms, or on its own."""
    one = load_experiment("baseline").arm("control", two_steps)
    folder = make_run(one, 0, tune(one))
    wider = two_steps.replace(rl=two_steps.rl.replace(lora_rank=8))
    other = load_experiment("baseline").arm("control", wider)
    with pytest.raises(NlaError, match="another architecture"):
        other.load(folder)


@pytest.mark.usefixtures("repository")
def test_a_policy_that_gains_nothing_more_is_done(two_steps: Profile):
    """At a rate of next to nothing the look before the first step is the best."""
    rates = {"learning_rate": 1e-12, "ar_learning_rate": 1e-12}
    long = two_steps.rl.replace(steps=6, validations=3, patience=1, **rates)
    one = load_experiment("baseline").arm("control", two_steps.replace(rl=long))
    folder = make_run(one, 1, tune(one))
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == 2
    assert "no better dev FVE in 1 looks" in folder.summary["flattened"]


@pytest.mark.usefixtures("repository")
def test_the_true_activation_loses_no_reward_by_its_splice(two_steps: Profile):
    trunk = load_experiment("baseline").arm("control", two_steps).trunk(0)
    keys = trunk.activations(["rl"], ["key"])["key"].to_list()[:3]
    vectors = trunk.store[keys]
    both = torch.stack([vectors, torch.randn(vectors.shape)], 1).flatten(0, 1)
    lost = Splice(trunk)(keys, both).view(3, 2)
    assert lost[:, 0].tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert (lost[:, 1] > 1e-4).all()
