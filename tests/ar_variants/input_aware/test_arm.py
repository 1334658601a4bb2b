"""Arms whose AR sees some of the input: settings, what reaches the AR, what is left out."""

from itertools import chain
from typing import Any

import polars as pl
import pytest

from ar_variants.input_aware.arm import InputAwareArm, ViewAloneArm, ViewConfig
from ar_variants.input_aware.informed import InformedReconstructor
from ar_variants.input_aware.views import bag
from common.arms.arm import ArmPlan
from common.data.batches import Example
from common.errors import NlaError
from common.lifecycle.check import check_current
from common.profile import Profile
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA
from common.runs import RunFolder
from common.schema import AV_SFT, DOC_ID, SPLIT, Reading
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.arms.made import arm_named, run_of

MISSING = [
    ({"view": "tokens"}, "`tokens` belongs to"),
    ({"view": "topic", "tokens": 4}, "`tokens` belongs to"),
    ({"view": "blocks"}, "`blocks` belongs to"),
    ({"view": "given", "tokens": 4, "blocks": 2}, "`blocks` belongs to"),
    ({"view": "given", "tokens": 0}, "greater than or equal to 1"),
    ({"view": "picture"}, "'given', 'topic', 'tokens', 'embedder' or 'blocks'"),
]


def arm_of(
    profile: Profile, kind: type[InputAwareArm] = InputAwareArm, **view: Any
) -> InputAwareArm:
    settings = ViewConfig(**view)
    return kind(ArmPlan("ar_input_aware", "own", settings, choose_trunk(profile)))


@pytest.mark.parametrize(("view", "told"), MISSING)
def test_a_view_needs_its_numbers_and_no_others(view: dict[str, Any], told: str):
    with pytest.raises(ValueError, match=told):
        ViewConfig(**view)


def test_the_whole_depth_is_no_view(trunk: Trunk, smoke: Profile):
    with pytest.raises(NlaError, match=r"blocks is the activation.*`blocks` to at most"):
        arm_of(smoke, view="blocks", blocks=trunk.layer + 1).build(trunk)
    arm_of(smoke, view="blocks", blocks=trunk.layer).build(trunk)


def test_a_view_longer_than_the_ar_reads_is_refused(trunk: Trunk, smoke: Profile):
    with pytest.raises(NlaError, match="room for"):
        arm_of(smoke, view="tokens", tokens=100_000).build(trunk)


def test_a_view_that_is_given_cannot_be_trained_alone(trunk: Trunk, smoke: Profile):
    with pytest.raises(NlaError, match="nothing to train"):
        arm_of(smoke, ViewAloneArm, view="given", tokens=4).build(trunk)


@pytest.mark.parametrize("view", [{"view": "tokens", "tokens": 3}, {"view": "given", "tokens": 3}])
def test_hidden_tokens_never_reach_an_ar(trunk: Trunk, smoke: Profile, view: dict[str, Any]):
    """Poisoned: every hidden token of every input is replaced, and no reading changes."""
    one = arm_of(smoke, **view)
    keys = [*trunk.sources][:6]
    plan = [[Example(key, f"Text {key}.") for key in keys]]
    before = one.readings(trunk, plan, 0)
    sources = {key: (*(7 for _ in ids[:-3]), *ids[-3:]) for key, ids in trunk.sources.items()}
    poisoned = Trunk(trunk.choice)
    poisoned.__dict__["sources"] = sources
    assert sources != trunk.sources
    assert one.readings(poisoned, plan, 0) == before
    assert one.dev_readings(poisoned, plan) == one.dev_readings(trunk, plan)


def test_a_view_of_the_topic_has_lost_the_order(trunk: Trunk, smoke: Profile):
    one = arm_of(smoke, view="topic")
    key = next(iter(trunk.sources))
    [[example]] = one.dev_readings(trunk, [[Example(key, "Text.")]])
    assert example.text == Reading("Text.", bag(trunk.sources[key]))


def test_some_examples_lack_the_words_and_others_the_input(trunk: Trunk, smoke: Profile):
    """Other ones in every epoch and seed, and the same when a run is resumed."""
    one = arm_of(smoke, view="tokens", tokens=4)
    keys = [*trunk.sources][:60]
    plan = [[Example(key, "Text.") for key in keys] for _ in range(10)]
    found = one.readings(trunk, plan, 0)
    readings = [example.text for example in chain.from_iterable(found)]
    assert 0.1 < sum(not one.text for one in readings) / len(readings) < 0.2
    assert 0.1 < sum(not one.source for one in readings) / len(readings) < 0.2
    assert all(one.text or one.source for one in readings)
    assert found[0] != found[1]
    assert one.readings(trunk, plan, 0) == found != one.readings(trunk, plan, 1)


def test_nothing_is_left_out_where_the_view_is_given(trunk: Trunk, smoke: Profile):
    plan = [[Example(key, "Text.") for key in trunk.sources]]
    readings = arm_of(smoke, view="given", tokens=4).readings(trunk, plan, 0)
    assert all(example.text.text and example.text.source for example in readings[0])


def test_alone_there_are_no_words(trunk: Trunk, smoke: Profile):
    one, plan = (
        arm_of(smoke, ViewAloneArm, view="tokens", tokens=4),
        [[Example(key, "Text.") for key in trunk.sources]],
    )
    for readings in (one.readings(trunk, plan, 0), one.dev_readings(trunk, plan)):
        assert not any(example.text.text for example in readings[0])
        assert all(example.text.source for example in readings[0])


def test_a_closed_form_is_fitted_to_documents_that_the_ar_never_reads(trunk: Trunk, smoke: Profile):
    model = arm_of(smoke, view="given", tokens=1).build(trunk)
    documents = {*model.taught().documents}
    rows = trunk.activations([AV_SFT], [DOC_ID, SPLIT])
    assert documents == {*rows[DOC_ID]}
    read = {*trunk.documents_of([example.key for example in trunk.ar_examples()])}
    assert not documents & read


def test_the_view_is_part_of_the_checkpoint(trunk: Trunk, smoke: Profile):
    found = {}
    for view in (
        {"view": "tokens", "tokens": 4},
        {"view": "tokens", "tokens": 8},
        {"view": "topic"},
    ):
        one = arm_of(smoke, **view)
        found[one.metadata(one.build(trunk), trunk)["view"]] = view
    assert [*found] == ["tokens 4", "tokens 8", "topic"]


@pytest.mark.usefixtures("warm")
def test_an_ar_of_the_view_alone_is_measured_and_reads_no_texts(two_steps: Profile):
    folder = run_of(arm_named("ar_input_aware/last_16_alone", two_steps))
    assert not folder.rows_file.exists()
    assert not folder.samples_file.exists()
    measures = pl.read_parquet(folder.measures_file)
    assert {"view_read", "view_closed", "view_gain", "view_known"} == {*measures["measure"]}
    assert measures["value"].is_finite().all()


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("name", ["given_4", "topic", "last_16", "embedder", "blocks_2"])
def test_an_arm_of_every_kind_of_view_trains_two_steps_and_is_tested(name: str, two_steps: Profile):
    one = arm_named(f"ar_input_aware/{name}", two_steps)
    folder = run_of(one)
    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert set(RUNS_SCHEMA) - {"arm", "seed", "ar_learning_rate"} <= set(folder.summary)
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows.columns) == set(ROWS_SCHEMA)
    assert {"original", "shuffled", "swap_quote"} <= {*rows["transform"]}
    assert not rows.filter(pl.col("transform").str.starts_with("prefix")).height
    assert rows.filter("applied")["error_beyond_4"].is_finite().all()
    assert len(folder.samples()) == 20
    check_current(one, 0)
    check_measures(folder, blind=name != "given_4")
    loaded = one.load(folder)
    if isinstance(loaded, InformedReconstructor):
        assert loaded.closed.weight.any(), "the closed form is kept"


def check_measures(folder: RunFolder, blind: bool) -> None:
    measures = pl.read_parquet(folder.measures_file)
    found = {*measures["measure"]}
    for source in ("teacher", "av"):
        assert {f"conditional_{source}{end}" for end in ("", "_swapped", "_elsewhere")} <= found
        assert (f"words_alone_{source}" in found) == blind
    assert {"view_read", "view_closed", "view_gain", "view_known"} <= found
    assert measures["value"].is_finite().all()
