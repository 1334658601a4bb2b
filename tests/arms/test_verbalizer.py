"""AVs that are trained by supervision: the warm start, and arms that compare them."""

from typing import Any

import polars as pl
import pytest

from common.arms.arm import ArmPlan, NoSettings
from common.arms.reconstructor import load_ar
from common.arms.verbalizer import VerbalizerArm, build_av, load_av
from common.arms.writer import WriterArm
from common.errors import NlaError
from common.lifecycle.make import make_run
from common.models.templates import ARTemplate, AVTemplate
from common.profile import Profile
from common.schema import AV, KEY
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from decomposition.repeat import Repeat


class TwoSlots(VerbalizerArm):
    """The activation, twice."""

    def build(self, trunk: Trunk):
        return build_av(trunk, Repeat(2))


class Copier:
    """Writes the end of the input."""

    def write(self, items: pl.DataFrame, samples: int, seed: int) -> list[str]:
        return [text[-40:] for text in items["text"] for _ in range(samples)]


class CopierArm(WriterArm):
    """Trains nothing."""

    def writer(self, trunk: Trunk) -> Copier:
        return Copier()


def plan(profile: Profile, name: str) -> ArmPlan:
    return ArmPlan("throwaway", name, NoSettings(), choose_trunk(profile))


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("kind", [VerbalizerArm, TwoSlots])
def test_an_av_is_trained_and_what_it_says_is_read(kind: type[VerbalizerArm], two_steps: Profile):
    one = kind(plan(two_steps, kind.__name__))
    folder = make_run(one, 0)
    rows, measures = pl.read_parquet(folder.rows_file), pl.read_parquet(folder.measures_file)
    assert set(rows["source"]) == {AV}
    assert {"true_loss", "shuffled_loss", "tokens"} <= set(measures["measure"])
    assert measures.filter(measure="true_loss").columns == [
        KEY, "cluster", "measure", "value", "arm", "seed",
    ]  # fmt: skip
    assert measures["value"].is_finite().all()
    assert {"dev_loss", "dev_gap", "alpha"} <= set(folder.summary)
    slots = len(one.load(folder).template.slot_columns)
    assert slots == (2 if kind is TwoSlots else 1)


@pytest.mark.usefixtures("repository")
def test_a_checkpoint_of_another_number_of_slots_is_refused(two_steps: Profile):
    folder = make_run(VerbalizerArm(plan(two_steps, "VerbalizerArm")), 0)
    with pytest.raises(NlaError, match="checkpoint mismatch"):
        TwoSlots(plan(two_steps, "VerbalizerArm")).load(folder)


@pytest.mark.usefixtures("repository")
def test_a_writer_is_tested_without_training(two_steps: Profile):
    folder = make_run(CopierArm(plan(two_steps, "copier")), 0)
    written = pl.read_parquet(folder.texts_file)
    assert written["explanation"].str.len_chars().max() == 40
    assert not folder.checkpoint.exists()
    assert pl.read_parquet(folder.rows_file).filter("applied")["squared_error"].is_finite().all()


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(("model", "load"), [("av", load_av), ("ar", load_ar)], ids=["av", "ar"])
def test_a_warm_start_that_does_not_match_is_refused(
    model: str, load: Any, two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    """Of other settings, other data, another template."""
    config = getattr(two_steps, model).replace(learning_rate=0.5)
    with pytest.raises(NlaError, match=f"other tuned than today's.*dvc repro {model}"):
        load(Trunk(choose_trunk(two_steps.replace(**{model: config}))))
    with monkeypatch.context() as patch:
        patch.setattr(Trunk, "digests", lambda _, names: dict.fromkeys(names, "another"))
        with pytest.raises(NlaError, match=f"other data than today's.*dvc repro {model}"):
            load(Trunk(choose_trunk(two_steps)))
    template = {"av": AVTemplate, "ar": ARTemplate}[model]
    monkeypatch.setattr(template, "digest", lambda _: "another")
    with pytest.raises(NlaError, match=r"checkpoint mismatch: template is .* expected 'another'"):
        load(Trunk(choose_trunk(two_steps)))
