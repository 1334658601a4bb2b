"""A finished run becomes a folder of small files that explains."""

from pathlib import Path

import pytest

from common.commands.explain import explain_text
from common.commands.places import named_run
from common.commands.release import release
from common.errors import NlaError
from common.profile import Profile
from tests.arms.made import arm_named, run_of


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("run", ["ar_small/control/0", "ar_small/control/1", "baseline/control/0"])
def test_a_run_is_released_and_explains(
    run: str, two_steps: Profile, capsys: pytest.CaptureFixture[str]
):
    arm, _, seed = run.rpartition("/")
    run_of(arm_named(arm, two_steps), int(seed))
    folder = Path("released") / run.replace("/", "-")
    release(named_run(two_steps.name, run), folder, two_steps)
    card = (folder / "README.md").read_text()
    assert "| these files |" in card
    assert "| prose of the corpus, test documents |" in card
    assert "this report" not in card, "nothing is collected"
    assert f"--ar {folder}" in card
    explain_text("The quiet river crosses the plain. " * 4, -1, folder, two_steps)
    told = capsys.readouterr().out
    assert str(folder) in told
    assert "FVE" in told


@pytest.mark.usefixtures("warm")
def test_a_run_that_is_not_todays_is_not_released(two_steps: Profile):
    run_of(arm_named("ar_small/control", two_steps), 0)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    run = named_run(two_steps.name, "ar_small/control/0")
    with pytest.raises(NlaError, match=r"a run of other evaluation than today's.*nla run ar_small"):
        release(run, Path("released/never"), other)
    assert not Path("released/never").exists()


@pytest.mark.usefixtures("warm")
def test_a_run_whose_ar_sees_some_of_the_input_explains_and_is_not_released(
    two_steps: Profile, capsys: pytest.CaptureFixture[str]
):
    run_of(arm_named("ar_input_aware/given_4", two_steps), 0)
    run = named_run(two_steps.name, "ar_input_aware/given_4/0")
    explain_text("The quiet river crosses the plain. " * 4, -1, run.path, two_steps)
    assert "the AR makes with its part of the input alone" in capsys.readouterr().out
    with pytest.raises(NlaError, match=r"its AR sees some of the input.*words alone"):
        release(run, Path("released/never"), two_steps)
    assert not Path("released/never").exists()
