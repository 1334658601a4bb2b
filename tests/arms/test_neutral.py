"""One AR for all arms: what it is trained on, and what it reads."""

from pathlib import Path

import polars as pl
import pytest

from common.arms.arm import Arm, ArmPlan
from common.arms.neutral import NeutralAR, balanced
from common.arms.verbalizer import VerbalizerArm
from common.errors import NlaError
from common.evaluation.conditions import SOURCE_TEXT
from common.evaluation.neutral import mean_reader
from common.lifecycle.make import make_run
from common.profile import Profile
from common.schema import AR_SFT, AV_NEUTRAL_AR, TEACHER
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, plan_of


def table(said: str) -> pl.DataFrame:
    keys = [f"{number}:16" for number in range(6)]
    return pl.DataFrame({"key": keys, "explanation": [f"{said} {key}" for key in keys]})


def test_each_arm_gives_as_much_and_what_avs_alike_wrote_counts_once():
    spoken = [
        ("control", table("a")),
        ("control", table("b")),
        ("frozen_av", table("start")),
        ("frozen_av", table("start")),
        ("warm_start", table("start")),
    ]
    texts = [example.text.split()[0] for examples in balanced(spoken) for example in examples]
    assert texts.count("start") == 6
    assert texts.count("a") + texts.count("b") == 6
    assert {"a", "b"} < set(texts), "of every seed"
    assert len(texts) == 12


def test_an_arm_of_fewer_seeds_that_wrote_nothing_of_its_own_does_not_count():
    starts = [("warm_start", table("first")), ("warm_start", table("second"))]
    spoken = [("control", table("a")), ("frozen_av", table("first")), *starts]
    texts = [example.text.split()[0] for examples in balanced(spoken) for example in examples]
    assert len(texts) == 12
    assert texts.count("a") == texts.count("first") + texts.count("second") == 6


def test_several_readers_are_one_of_means():
    """Ranks are those of the middle reader; references are read by none."""

    def read(error: float | None, rank: int | None, arm: str = "control") -> pl.DataFrame:
        same = {"arm": arm, "seed": 0, "key": "a:1", "doc_id": "a", "source": AV_NEUTRAL_AR}
        values = {"squared_error": error, "error_beyond_1": error, "retrieval_rank": rank}
        types = {"squared_error": pl.Float64, "error_beyond_1": pl.Float64}
        row = same | {"transform": "original", "applied": error is not None} | values
        return pl.DataFrame([row], schema_overrides=types | {"retrieval_rank": pl.Int64})

    first = pl.concat([read(1.0, 1), read(7.0, 3, "look_up")])
    found = mean_reader([first, read(2.0, 5), read(6.0, 2)])
    mean = found.filter(source=AV_NEUTRAL_AR)
    assert mean.select("arm", "squared_error", "error_beyond_1", "retrieval_rank").rows() == [
        ("control", 3.0, 3.0, 2),
        ("look_up", 7.0, 7.0, 3),
    ]
    each = found.filter(pl.col("source") != AV_NEUTRAL_AR)
    names = [f"{AV_NEUTRAL_AR}_{reader}" for reader in range(3)]
    assert each.select("source", "arm", "squared_error").rows() == [
        (names[0], "control", 1.0),
        (names[1], "control", 2.0),
        (names[2], "control", 6.0),
    ]
    nothing = mean_reader([read(None, None), read(None, None)])
    assert nothing["squared_error"].null_count() == 3
    assert not nothing["applied"].any()


@pytest.fixture
def arms(warm: Path, two_steps: Profile) -> list[Arm]:
    """Two of `baseline`, and their finished runs of both pairs."""
    found = [arm_named(f"baseline/{name}", two_steps) for name in ("control", "warm_start")]
    for arm in found:
        for seed in arm.seeds:
            make_run(arm, seed)
    return found


def test_it_reads_what_every_arm_has_written_and_floors_beside_the_control(arms: list[Arm]):
    neutral = NeutralAR()
    neutral.run(arms)
    [folder] = neutral.places(arms)
    assert folder == Path("runs/smoke/neutral/baseline")
    assert sorted(run.name for run in folder.iterdir() if run.is_dir()) == ["0", "1"]
    found = neutral.collect(arms)
    assert found.rows is not None
    assert found.curves is not None
    rows = found.rows.filter(source=AV_NEUTRAL_AR, transform="original")
    read = {tuple(row) for row in rows.select("arm", "seed").unique().rows()}
    assert {(name, seed) for name in ("control", "warm_start") for seed in (0, 1)} <= read
    floors = {"mean_direction", "embedding_ridge", "look_up", "own_blocks", "last_token"}
    assert floors | {"nearest_text", "next_tokens_text"} <= set(rows["arm"])
    by_reader = [
        found.rows.filter(source=f"{AV_NEUTRAL_AR}_{reader}", arm="control") for reader in (0, 1)
    ]
    assert {*by_reader[0]["transform"], *by_reader[1]["transform"]} == {"original"}
    errors = [part["squared_error"].to_numpy() for part in by_reader]
    assert (errors[0] != errors[1]).any(), "another order of examples"
    mean = rows.filter(arm="control")["squared_error"].to_list()
    assert mean == pytest.approx(((errors[0] + errors[1]) / 2).tolist())
    each = found.rows.filter(source=f"{AV_NEUTRAL_AR}_0")
    assert set(each["arm"]) == {"control", "warm_start", "nearest_text", "next_tokens_text"}
    assert found.rows["error_beyond_1"].drop_nulls().is_finite().all()
    assert set(found.rows.filter(transform=SOURCE_TEXT)["arm"]) >= {"control"}
    assert set(found.curves["arm"]) == {"control", "warm_start"}
    assert found.rows["squared_error"].is_finite().all()
    assert found.facts["missing_floors"] == {} or "tfidf_ridge" in found.facts["missing_floors"]
    assert found.facts["neutral_readers"] == 2


def test_it_learns_from_activations_that_no_av_was_optimised_on(
    arms: list[Arm], two_steps: Profile
):
    [own] = NeutralAR().own_arms(arms)
    trunk = own.trunk(0)
    keys = [example.key for example in own.examples(trunk)]
    splits = dict(trunk.explanations(TEACHER).select("key", "split").rows())
    assert {splits[key] for key in keys} == {AR_SFT}
    few = two_steps.evaluation.neutral_examples
    assert len(keys) % few == 0
    assert len(keys) >= 2 * few, "of the arms, and of the teacher as many"


def test_it_needs_every_run_with_what_it_wrote(arms: list[Arm]):
    [own] = NeutralAR().own_arms(arms)
    needs = {need.name: need for need in own.needs(0)}
    runs = {f"{arm.name}/{seed}" for arm in arms for seed in arm.seeds}
    assert runs <= set(needs)
    before = needs["control/0"].digest()
    assert before == needs["control/0"].digest() != needs["control/1"].digest()


@pytest.mark.usefixtures("copied_warm")
def test_a_run_that_is_missing_is_one_line(two_steps: Profile):
    one = VerbalizerArm(plan_of(two_steps, "fresh"))
    with pytest.raises(NlaError, match=r"has not been made \[runs/smoke/throwaway/fresh/0\]"):
        NeutralAR().run([one])
    make_run(one, 0)
    with pytest.raises(NlaError, match="nla evaluate throwaway neutral --profile smoke"):
        NeutralAR().collect([one])
    NeutralAR().run([one])
    found = NeutralAR().collect([one])
    assert found.curves is None, "no look at dev documents"
    assert found.rows is not None


def test_arms_that_explain_different_activations_are_refused(two_steps: Profile):
    own = plan_of(two_steps, "control")
    other = choose_trunk(two_steps, "mine/early", {"activations": {"layers": (3,)}})
    arms = [VerbalizerArm(own), VerbalizerArm(ArmPlan("throwaway", "x", own.settings, other))]
    with pytest.raises(NlaError, match=r"throwaway explain different activations.*leave NeutralAR"):
        NeutralAR().own_arms(arms)
    wide = choose_trunk(two_steps, "mine/wide", {"av": {"slots": 2}})
    arms[1] = VerbalizerArm(ArmPlan("throwaway", "x", own.settings, wide))
    assert len(NeutralAR().own_arms(arms)) == 1
    assert isinstance(arms[1].trunk(0), Trunk)
