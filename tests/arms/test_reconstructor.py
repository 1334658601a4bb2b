"""Every arm that trains an AR, in two steps; and when such a run is made again."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch

from common.arms.arm import Arm
from common.arms.reconstructor import ReconstructorArm
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.experiment import load_experiment
from common.lifecycle.check import check_current
from common.lifecycle.make import has_finished, make_run
from common.lifecycle.tune import sweep_of, tune
from common.profile import Profile
from common.report.results import ROWS_SCHEMA
from common.schema import AV, TEACHER
from common.tuning.study import Best
from common.tuning.sweep import run_sweep
from tests.arms.two_steps import TUNED, arms_of


def distractors(profile: Profile, count: int) -> Profile:
    return profile.replace(evaluation=profile.evaluation.replace(distractors=count))


def trains_nothing(*_: object) -> None:
    raise AssertionError("trained again")


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(ReconstructorArm))
def test_an_arm_trains_two_steps_and_is_tested(experiment: str, arm: str, two_steps: Profile):
    one = load_experiment(experiment).arm(arm, two_steps)
    assert isinstance(one, ReconstructorArm)
    folder = make_run(one, 0, TUNED)

    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert {"parameters", "trainable_parameters", "train_tokens", "dev_fve"} <= set(folder.summary)

    rows, tests = pl.read_parquet(folder.rows_file), TestSet(one.trunk(0))
    assert set(rows.columns) == set(ROWS_SCHEMA)
    assert set(rows["source"]) == {TEACHER, AV}
    assert {"original", "shuffled", "quotes_stripped", "random_stripped", "prefix_4"} <= set(
        rows["transform"]
    )
    assert rows.filter("applied")["squared_error"].is_finite().all()
    assert set(rows.group_by("source", "transform").len()["len"]) == {tests.table.height}

    fresh, trained = one.build(one.trunk(0)), one.load(folder)
    pairs = list(zip(trained.parameters(), fresh.parameters(), strict=True))
    assert any(not torch.equal(*pair) for pair in pairs)
    for parameter, before in pairs:
        assert parameter.requires_grad or torch.equal(parameter, before), "a frozen weight moved"

    written = folder.summary_file.stat().st_mtime_ns
    make_run(one, 0, TUNED)
    assert folder.summary_file.stat().st_mtime_ns == written, "a finished run ran again"


@pytest.mark.usefixtures("repository")
def test_another_test_reads_the_checkpoint_and_trains_nothing(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = load_experiment("ar_small").arm("bag_of_words", two_steps)
    folder = make_run(one, 3, TUNED)
    weights = folder.checkpoint / "ar.safetensors"
    before, rows = weights.stat().st_mtime_ns, pl.read_parquet(folder.rows_file)
    more = load_experiment("ar_small").arm("bag_of_words", distractors(two_steps, 7))
    monkeypatch.setattr(type(more), "train", trains_nothing)
    make_run(more, 3, TUNED)
    assert weights.stat().st_mtime_ns == before
    again = pl.read_parquet(folder.rows_file)
    assert again["squared_error"].to_list() == rows["squared_error"].to_list()
    assert again["retrieval_rank"].max() > rows["retrieval_rank"].max()
    resampled = two_steps.evaluation.replace(distractors=7, resamples=101)
    same = load_experiment("ar_small").arm("bag_of_words", two_steps.replace(evaluation=resampled))
    written = folder.summary_file.stat().st_mtime_ns
    make_run(same, 3, TUNED)
    assert folder.summary_file.stat().st_mtime_ns == written, "only reports resample"


@pytest.mark.usefixtures("repository")
def test_other_code_of_a_test_tests_again_and_tunes_nothing_again(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = load_experiment("ar_small").arm("bag_of_words", two_steps)
    folder = make_run(one, 4, TUNED)
    name = sweep_of(one).name
    code = {"trained": folder.config["code"]["trained"], "tested": "another"}
    monkeypatch.setattr("common.lifecycle.check.code_of", lambda _: code)
    monkeypatch.setattr(type(one), "train", trains_nothing)
    make_run(one, 4, TUNED)
    assert folder.config["code"] == code
    assert sweep_of(one).name == name


@pytest.mark.usefixtures("repository")
def test_a_run_killed_before_its_test_goes_on_with_it(
    two_steps: Profile, monkeypatch: pytest.MonkeyPatch
):
    one = load_experiment("ar_small").arm("bag_of_words", two_steps)
    with monkeypatch.context() as patch:
        patch.setattr(type(one), "test", trains_nothing)
        with pytest.raises(AssertionError):
            make_run(one, 5, TUNED)
    folder = one.run_folder(5)
    assert not folder.summary_file.exists()
    monkeypatch.setattr(type(one), "train", trains_nothing)
    make_run(one, 5, TUNED)
    assert folder.summary_file.exists()


@pytest.mark.usefixtures("repository")
def test_a_run_that_does_not_match_is_refused(two_steps: Profile):
    one = load_experiment("ar_small").arm("blocks_1", two_steps.replace(tuning=untuned(two_steps)))
    best = run_sweep(sweep_of(one), lambda trial, params: 0.0)
    folder = make_run(one, 0, best)
    check_current(one, 0)
    other = distractors(one.profile, 2)
    with pytest.raises(NlaError, match=r"a run of other evaluation than today's.*nla run"):
        check_current(load_experiment("ar_small").arm("blocks_1", other), 0)
    worse = Best({name: value * 1.1 for name, value in best.params.items()}, (0.0,), 1, 1)
    make_run(one, 0, worse)
    with pytest.raises(NlaError, match="a run of other tuned than today's"):
        check_current(one, 0)
    make_run(one, 0, best)
    folder.summary_file.unlink()
    with pytest.raises(NlaError, match=r"unfinished run.*nla run"):
        check_current(one, 0)


def untuned(profile: Profile):
    """A store of its own, so that no other test's study is met."""
    return profile.tuning.replace(trials=1, storage="sqlite:///other.db")


def test_an_arm_has_finished_when_budget_and_seeds_are_spent(
    two_steps: Profile, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`nla run` then neither opens a study nor speaks to MLflow."""
    for name in ("data", "experiments"):
        (tmp_path / name).symlink_to((repository / name).resolve())
    (tmp_path / "runs" / "smoke").mkdir(parents=True)
    warm = repository / "runs" / "smoke" / "warm_start"
    (tmp_path / "runs" / "smoke" / "warm_start").symlink_to(warm)
    monkeypatch.chdir(tmp_path)
    one = load_experiment("ar_small").arm("blocks_1", two_steps)

    def trial(arm: Arm, trial: object, params: dict[str, float]) -> float:
        return params["learning_rate"]

    monkeypatch.setattr("common.lifecycle.tune._trial", trial)
    assert not has_finished(one, []), "nothing is tuned yet"
    best = tune(one)
    assert has_finished(one, [])
    assert not has_finished(one, [0])
    folder = make_run(one, 0, best)
    assert has_finished(one, [0])
    assert not has_finished(one, [0, 1])
    folder.rows_file.unlink()
    assert not has_finished(one, [0]), "a table is gone"


@pytest.mark.usefixtures("repository")
def test_a_trial_keeps_the_code_that_it_ran(two_steps: Profile):
    one = load_experiment("ar_small").arm(
        "bag_of_words", two_steps.replace(tuning=untuned(two_steps))
    )
    tune(one)
    import optuna

    study = optuna.load_study(study_name=sweep_of(one).name, storage="sqlite:///other.db")
    assert {trial.user_attrs["code"] for trial in study.trials} == {
        one.run_folder("trial-0").config["code"]["trained"]
    }
