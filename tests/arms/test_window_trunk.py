"""A trunk with a window: what its AVs read, what is refused, and what can be done with a run."""

from pathlib import Path

import pytest
import torch

from common.arms.verbalizer import build_av, load_av
from common.commands.explain import explain_text, read_activation
from common.commands.places import named_run
from common.commands.release import release
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.models.checkpoint import load_trainable
from common.profile import Profile
from common.schema import KEY, TOKEN_IDS
from common.trunk.artefacts import Trunk
from common.trunk.choice import TrunkChoice, choose_trunk
from decomposition.repeat import Repeat
from decomposition.window import Window
from tests.arms.made import arm_named, make_trunk, run_of

POSITIONS = 4


@pytest.fixture
def trunk(warm: Path, two_steps: Profile) -> Trunk:
    """That of `ar_small_rl`."""
    found = arm_named("ar_small_rl/control", two_steps).trunk(0)
    make_trunk(found.choice)
    return found


def test_an_av_of_the_trunk_reads_each_position_in_a_slot(trunk: Trunk):
    verbalizer = build_av(trunk)
    assert isinstance(verbalizer.decomposition, Window)
    assert len(verbalizer.template.slot_columns) == POSITIONS
    assert verbalizer.alpha == trunk.manifest["norm_percentiles"]["75"]
    keys = TestSet(trunk).keys[:3]
    inputs, vectors = trunk.inputs[keys], trunk.store[keys]
    assert inputs.shape == (3, POSITIONS * vectors.shape[1])
    assert torch.equal(inputs[:, -vectors.shape[1] :], vectors)
    assert torch.equal(TestSet(trunk).judge.activations[:3], vectors), "the AR gives back these"
    assert trunk.training_activations.shape[1] == vectors.shape[1]


def test_without_a_window_an_av_reads_the_activations(warm: Path, two_steps: Profile):
    plain = Trunk(choose_trunk(two_steps))
    assert plain.inputs is plain.store
    assert "window" not in plain.manifest
    assert build_av(plain).decomposition.window == 1


def test_decompositions_of_another_window_are_refused(trunk: Trunk, two_steps: Profile):
    with pytest.raises(NlaError, match=r"Repeat reads a window of 1, but .*window = 4"):
        build_av(trunk, Repeat(POSITIONS))
    with pytest.raises(NlaError, match=r"Window reads a window of 3, but .*window = 4"):
        build_av(trunk, Window(3))
    with pytest.raises(NlaError, match=r"Window reads a window of 4, but .*window = 1"):
        build_av(Trunk(choose_trunk(two_steps)), Window(POSITIONS))


def test_activations_of_another_window_are_refused(trunk: Trunk, two_steps: Profile):
    for window, told in ((2, "expected 2"), (1, "expected None")):
        settings = trunk.profile.activations.replace(window=window)
        other = trunk.profile.replace(activations=settings)
        with pytest.raises(NlaError, match=f"window is 4, {told}"):
            _ = Trunk(TrunkChoice(other, trunk.places)).manifest
    plain = choose_trunk(two_steps).places
    with pytest.raises(NlaError, match="window is None, expected 4"):
        _ = Trunk(TrunkChoice(trunk.profile, plain)).manifest


def test_a_checkpoint_is_refused_where_there_is_no_window(trunk: Trunk, two_steps: Profile):
    load_av(trunk)
    plain = Trunk(choose_trunk(two_steps))
    fresh = build_av(plain)
    wanted = plain.speaking_metadata(fresh) | {"alpha": f"{load_av(trunk).alpha:.4f}"}
    file = trunk.av_run.path / "checkpoint" / "av.safetensors"
    with pytest.raises(NlaError, match=r"mismatch: (template|decomposition) is"):
        load_trainable(fresh, file, wanted)
    scheme = {"decomposition": wanted["decomposition"]}
    with pytest.raises(NlaError, match="decomposition is 'Window', expected 'Single'"):
        load_trainable(fresh, file, scheme)


def test_explain_reads_the_window_from_the_text(
    trunk: Trunk, two_steps: Profile, capsys: pytest.CaptureFixture[str]
):
    table = trunk.activations(columns=[KEY, TOKEN_IDS]).head(3)
    for key, ids in table.iter_rows():
        vector, inputs = read_activation(trunk.target.model, ids, trunk.layer, POSITIONS)
        torch.testing.assert_close(inputs, trunk.inputs[[key]], rtol=0, atol=1e-4)
        torch.testing.assert_close(vector, trunk.store[[key]], rtol=0, atol=1e-4)
    run = run_of(arm_named("ar_small_rl/control", two_steps))
    explain_text("The quiet river crosses the plain. " * 4, -1, run.path, two_steps)
    assert "explanation" in capsys.readouterr().out


def test_a_run_of_the_trunk_is_not_released(trunk: Trunk, two_steps: Profile):
    run_of(arm_named("ar_small_rl/control", two_steps))
    run = named_run(two_steps.name, "ar_small_rl/control/0")
    with pytest.raises(NlaError, match=r"reads the activations of 4 positions.*without activat"):
        release(run, Path("released/never"), two_steps)
    assert not Path("released/never").exists()
