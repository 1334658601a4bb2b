"""AVs that are trained by supervision: the warm start, and arms that compare them."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from common.arms.reconstructor import load_ar
from common.arms.verbalizer import VerbalizerArm, build_av, load_av, warm_start_av
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.lifecycle.check import check_current
from common.lifecycle.make import make_run
from common.models.reconstructor import Reconstructor
from common.models.templates import AVTemplate
from common.models.verbalizer import Verbalizer
from common.profile import Profile
from common.schema import AV, KEY
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from decomposition.repeat import Repeat
from tests.arms.made import plan_of


class TwoSlots(VerbalizerArm):
    """The activation, twice."""

    def build(self, trunk: Trunk):
        return build_av(trunk, Repeat(2))


def one_of(kind: type[VerbalizerArm], profile: Profile) -> VerbalizerArm:
    return kind(plan_of(profile, kind.__name__.lower()))


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("kind", [VerbalizerArm, TwoSlots])
def test_an_av_is_trained_and_what_it_says_is_read(kind: type[VerbalizerArm], two_steps: Profile):
    one = one_of(kind, two_steps)
    folder = make_run(one, 0)
    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert {"dev_loss", "dev_gap", "alpha", "parameters"} <= set(folder.summary)
    check_current(one, 0)
    assert len(one.load(folder).template.slot_columns) == (2 if kind is TwoSlots else 1)

    rows, measures = pl.read_parquet(folder.rows_file), pl.read_parquet(folder.measures_file)
    keys = set(TestSet(one.trunk(0)).keys)
    assert set(rows["source"]) == {AV}
    assert set(rows.filter(transform="original")[KEY]) == keys
    assert rows.filter("applied")["squared_error"].is_finite().all()
    assert measures.columns == [KEY, "cluster", "measure", "value", "arm", "seed"]
    assert {"true_loss", "shuffled_loss", "tokens"} <= set(measures["measure"])
    assert measures["value"].is_finite().all()
    for name in ("true_loss", "shuffled_loss"):
        assert set(measures.filter(measure=name)[KEY]) == keys
    spoken = pl.read_parquet(folder.texts_file)
    assert dict(spoken["split"].value_counts().iter_rows()) == {
        "test": len(keys),
        "dev": 24,
        "ar_sft": 4,
    }
    assert folder.samples()[0][AV] in spoken["explanation"]


@pytest.mark.usefixtures("warm")
def test_the_losses_are_those_of_the_activation_and_of_another_documents(two_steps: Profile):
    """One that ignores what is injected loses nothing by a swap. In nats per token."""
    one = one_of(VerbalizerArm, two_steps)
    folder = make_run(one, 0)
    measures = pl.read_parquet(folder.measures_file)
    found = measures.pivot("measure", index=KEY, values="value")
    assert (found["true_loss"] != found["shuffled_loss"]).any()
    tests, verbalizer = TestSet(one.trunk(0)), one.load(folder)
    text, vector = tests.table["teacher"].to_list()[:1], tests.judge.activations[:1]
    with torch.no_grad():
        alone = float(verbalizer(verbalizer.encode(text, vector)))
    assert found.filter(key=tests.keys[0])["true_loss"].item() == pytest.approx(alone, abs=1e-4)


@pytest.mark.usefixtures("warm")
def test_the_pair_of_a_run_is_its_av_and_the_warm_started_ar(two_steps: Profile):
    one = one_of(VerbalizerArm, two_steps)
    verbalizer, reconstructor = one.test_pair(make_run(one, 0))
    assert isinstance(verbalizer, Verbalizer)
    assert isinstance(reconstructor, Reconstructor)
    needs = {need.name: need for need in one.needs(0)}
    assert needs["ar"].place == Path("runs/smoke/warm_start/ar")
    assert needs["ar"].digest() == one.trunk(0).ar_run.summary["digest"]


@pytest.mark.usefixtures("warm")
def test_a_checkpoint_of_another_number_of_slots_is_refused(two_steps: Profile):
    folder = make_run(one_of(VerbalizerArm, two_steps), 0)
    with pytest.raises(NlaError, match="checkpoint mismatch"):
        TwoSlots(plan_of(two_steps, "verbalizerarm")).load(folder)


@pytest.mark.usefixtures("warm")
def test_the_warm_starts_of_two_pairs_are_different(two_steps: Profile):
    choice = choose_trunk(two_steps)
    arm = warm_start_av(choice)
    assert arm.seeds == (0, 1)
    first, second = (load_av(Trunk(choice, pair)) for pair in arm.seeds)
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert any(not torch.allclose(*pair) for pair in pairs)
    assert not arm.run_folder(0).rows_file.exists(), "it is tested as part of what it becomes"
    assert not [need for need in arm.needs(0) if need.name in ("ar", "av_text")]


def test_adapters_of_two_pairs_begin_differently(smoke: Profile, trunk: Trunk):
    """Else the seed would be no more than the order of examples."""
    adapted = smoke.replace(av=smoke.av.replace(lora_rank=4))
    started = []
    for pair in (0, 1):
        torch.manual_seed(pair)
        built = build_av(Trunk(choose_trunk(adapted), pair))
        started.append([p.detach().clone() for p in built.parameters() if p.requires_grad])
    assert any(not torch.equal(*pair) for pair in zip(*started, strict=True))


def test_a_warm_start_that_does_not_match_is_refused(
    two_steps: Profile, warm: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of other settings, other data, another template."""
    changed: Any = two_steps.replace(av=two_steps.av.replace(learning_rate=0.5))
    with pytest.raises(NlaError, match=r"a run of other tuned than today's.*dvc repro av"):
        load_av(Trunk(choose_trunk(changed)))
    with monkeypatch.context() as patch:
        patch.setattr(Trunk, "digests", lambda _, names: dict.fromkeys(names, "another"))
        with pytest.raises(NlaError, match=r"a run of other data than today's.*dvc repro av"):
            load_av(Trunk(choose_trunk(two_steps)))
    monkeypatch.setattr(AVTemplate, "digest", lambda _: "another")
    with pytest.raises(NlaError, match=r"checkpoint mismatch: template is .* expected 'another'"):
        load_av(Trunk(choose_trunk(two_steps)))


def test_a_pair_that_was_not_made_is_one_line(
    two_steps: Profile, warm: Path, monkeypatch: pytest.MonkeyPatch
):
    more = choose_trunk(two_steps.replace(warm_starts=3))
    for load, stage in ((load_av, "av"), (load_ar, "ar")):
        with pytest.raises(NlaError, match=rf"has not been made .*/{stage}/2\].*dvc repro {stage}"):
            load(Trunk(more, pair=2))
