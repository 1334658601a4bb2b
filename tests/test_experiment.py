"""Every experiment folder runs on the tiny random model: two steps of each arm, then its test."""

import importlib
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from pydantic import ValidationError

from common.arms.arm import Arm
from common.arms.policy import PolicyArm
from common.arms.reconstructor import ReconstructorArm
from common.arms.record import OWN_TEXTS
from common.commands.explain import explain_text
from common.commands.places import named_run
from common.commands.release import release
from common.data.activations import load_activations
from common.errors import NlaError
from common.experiment import Experiment, load_experiment
from common.material import Material
from common.models.checkpoint import load_trainable
from common.models.reconstructor import Reconstructor
from common.models.templates import ARTemplate, AVTemplate
from common.params import ExperimentParams
from common.profile import Profile
from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA
from common.rollout.sampler import sample_explanations
from common.schema import AV, AV_UNTRAINED_AR, TEACHER
from common.tuning.study import Best
from common.tuning.sweep import run_sweep
from common.warm_start import load_ar, load_av, train_ar, train_av

ROOT = Path(__file__).parent.parent
TUNED = {"learning_rate": 1e-3}


def arms_of(kind: type[Arm]) -> list[Any]:
    """Experiment and arm of every arm of a class."""
    return [
        pytest.param(file.parent.name, arm, id=f"{file.parent.name}/{arm}")
        for file in sorted(ROOT.glob("experiments/*/params.yaml"))
        if loaded(file.parent.name).arm_class is kind
        for arm in yaml.safe_load(file.read_text())["arms"]
    ]


def loaded(name: str) -> Experiment:
    """An experiment, wherever the tests were started."""
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT


@pytest.fixture(scope="module")
def two_steps(smoke: Profile) -> Profile:
    ar = {"examples": 12, "av_examples": 4, "batch_size": 8}
    dev = {"validations": 1, "validation_examples": 8}
    evaluation = {"prefix_lengths": (4,), "batch_size": 256}
    rl = smoke.rl.replace(steps=2, activations=2, samples=2, validations=1, spoken_examples=4)
    return smoke.replace(
        rl=rl,
        av=smoke.av.replace(examples=16, validations=1, max_explanation_tokens=8),
        ar=smoke.ar.replace(**ar, **dev),
        evaluation=smoke.evaluation.replace(**evaluation),
    )


@pytest.fixture(scope="module")
def repository(trunk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    (root / "data").symlink_to(trunk_root / "data")
    (root / "experiments").symlink_to(ROOT / "experiments")
    return root


@pytest.fixture(scope="module")
def shared(two_steps: Profile) -> Material:
    """Arms copy what they need of it, so that one serves all."""
    return Material(two_steps)


def unreachable() -> None:
    raise OSError("no server")


@pytest.fixture
def without_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.tracking.tracker.connect", unreachable)


@pytest.mark.usefixtures("without_mlflow")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(ReconstructorArm))
def test_a_reconstructor_arm_trains_two_steps_and_is_tested(
    experiment: str,
    arm: str,
    two_steps: Profile,
    repository: Path,
    shared: Material,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(repository)
    one = ReconstructorArm(load_experiment(experiment), arm, two_steps, shared)
    folder = one.run_seed(0, Best(TUNED, (0.0,), 0, 1))

    losses = [values["train_loss"] for _, values in folder.metrics() if "train_loss" in values]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))
    assert set(RUNS_SCHEMA) - {"arm", "seed"} <= set(folder.summary)

    rows = pl.read_parquet(folder.rows_file)
    assert set(rows.columns) == set(ROWS_SCHEMA)
    assert set(rows["source"]) == {TEACHER, AV}
    assert {"original", "shuffled", "quotes_stripped", "random_stripped", "prefix_4"} <= set(
        rows["transform"]
    )
    assert rows.filter("applied")["squared_error"].is_finite().all()
    keys = shared.test_table.height
    assert set(rows.group_by("source", "transform").len()["len"]) == {keys}

    trained = one.experiment.build(one.settings, shared)
    fresh = [p.clone() for p in trained.parameters()]
    load_trainable(trained, folder.checkpoint / "ar.safetensors", one.metadata(trained))
    assert any(not torch.equal(*pair) for pair in zip(trained.parameters(), fresh, strict=True))
    for parameter, before in zip(trained.parameters(), fresh, strict=True):
        assert parameter.requires_grad or torch.equal(parameter, before), "a frozen weight moved"

    written = folder.summary_file.stat().st_mtime_ns
    one.run_seed(0, Best(TUNED, (0.0,), 0, 1))
    assert folder.summary_file.stat().st_mtime_ns == written, "a finished run ran again"

    one.check(folder)
    same = two_steps.replace(evaluation=two_steps.evaluation.replace(resamples=101))
    ReconstructorArm(one.experiment, arm, same, shared).check(folder)
    other = two_steps.replace(evaluation=two_steps.evaluation.replace(distractors=2))
    with pytest.raises(NlaError, match=r"a run of other evaluation, study than today's.*nla run"):
        ReconstructorArm(one.experiment, arm, other, shared).check(folder)
    summary = folder.summary
    folder.summary_file.unlink()
    with pytest.raises(NlaError, match=r"unfinished run.*nla run"):
        one.check(folder)
    folder.finish(summary)


@pytest.mark.usefixtures("without_mlflow")
def test_an_arm_has_finished_when_budget_and_seeds_are_spent(
    two_steps: Profile,
    tmp_path: Path,
    trunk_root: Path,
    shared: Material,
    monkeypatch: pytest.MonkeyPatch,
):
    """`nla run` then neither opens a study nor speaks to MLflow."""
    (tmp_path / "data").symlink_to(trunk_root / "data")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(tmp_path)
    one = ReconstructorArm(load_experiment("ar_small"), "blocks_1", two_steps, shared)
    monkeypatch.setattr(one, "_trial", lambda trial, params: params["learning_rate"])
    assert not one.has_finished([]), "nothing is tuned yet"
    best = one.tune()
    assert one.has_finished([])
    assert not one.has_finished([0])
    folder = one.run_seed(0, best)
    assert one.has_finished([0])
    assert not one.has_finished([0, 1])
    folder.rows_file.unlink()
    assert not one.has_finished([0]), "a table is gone"


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_of_another_setting_than_the_studys_best_is_refused(
    two_steps: Profile, repository: Path, shared: Material, monkeypatch: pytest.MonkeyPatch
):
    """As after trials were raised by hand: nothing else of the run's settings has changed."""
    monkeypatch.chdir(repository)
    storage = two_steps.tuning.replace(trials=1, storage=f"sqlite:///{repository}/other.db")
    profile = two_steps.replace(tuning=storage)
    one = ReconstructorArm(load_experiment("ar_small"), "bag_of_words", profile, shared)
    best = run_sweep(one.sweep(), lambda trial, params: 0.0)
    one.check(one.run_seed(7, best))
    worse = Best({name: value * 1.1 for name, value in best.params.items()}, (0.0,), 1, 1)
    with pytest.raises(NlaError, match="a run of other tuned than today's"):
        one.check(one.run_seed(7, worse))


@pytest.fixture(scope="module")
def warm(repository: Path, shared: Material) -> Material:
    """With a warm-started AV and AR."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        patch.setattr("common.tracking.tracker.connect", unreachable)
        train_av(shared)
        train_ar(shared)
    return shared


@pytest.mark.usefixtures("without_mlflow")
@pytest.mark.parametrize(("experiment", "arm"), arms_of(PolicyArm))
def test_a_policy_arm_trains_two_steps_and_is_tested(
    experiment: str,
    arm: str,
    two_steps: Profile,
    repository: Path,
    warm: Material,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(repository)
    one = PolicyArm(load_experiment(experiment), arm, two_steps, warm)
    if experiment == "ar_small_rl":
        partner = ReconstructorArm(load_experiment("ar_small"), one.settings.ar, two_steps, warm)
        partner.run_seed(0, Best(TUNED, (0.0,), 0, 1))
    best = one.tune()
    assert best.params == {}
    folder = one.run_seed(0, best)
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == (0 if arm == "warm_start" else 2)
    assert set(RUNS_SCHEMA) - {"arm", "seed"} <= set(folder.summary)
    rows = pl.read_parquet(folder.rows_file)
    assert set(rows["source"]) == {AV, AV_UNTRAINED_AR, TEACHER}
    keys = warm.test_table.height
    assert set(rows.group_by("source", "transform").len()["len"]) == {keys}
    spoken = pl.read_parquet(folder.path / OWN_TEXTS)
    assert dict(spoken["split"].value_counts().iter_rows()) == {"test": keys, "ar_sft": 4}
    measures = pl.read_parquet(folder.measures_file)
    assert {"splice_kl", "best_of_1", "best_of_2", "tokens"} <= set(measures["measure"])
    assert measures["value"].is_finite().all()
    gone = measures.filter(measure="sampled_kl")["value"]
    assert (gone.max() > 0) == (bool(one.tuned.steps) and one.tuned.trained != "ar")
    looks = sorted(folder.dev_texts.glob("*.parquet"))
    assert [int(look.stem) for look in looks] == ([0] if arm == "warm_start" else [0, 2])
    assert pl.read_parquet(looks[0]).height == two_steps.rl.validation_examples
    one.check(folder)
    verbalizer, reconstructor = one.load(folder)
    assert isinstance(reconstructor, Reconstructor)
    if not (one.tuned.steps and one.tuned.trained != "ar"):  # else adapters came back from bf16
        greedy = two_steps.rollout.replace(temperature=0.0)
        keys, texts = (spoken[name].to_list()[:4] for name in ("key", "explanation"))
        vectors = warm.store[keys]
        assert sample_explanations(verbalizer, vectors, greedy, precision="32-true") == texts
    if arm == "warm_start":
        read = rows.filter(transform="original").sort("key")
        own, untrained = (read.filter(source=s)["squared_error"] for s in (AV, AV_UNTRAINED_AR))
        assert own.to_list() == pytest.approx(untrained.to_list())


@pytest.mark.parametrize(("model", "load"), [("av", load_av), ("ar", load_ar)], ids=["av", "ar"])
def test_a_warm_start_that_does_not_match_is_refused(
    model: str,
    load: Any,
    two_steps: Profile,
    repository: Path,
    warm: Material,
    monkeypatch: pytest.MonkeyPatch,
):
    """Of other settings, other data, another template."""
    monkeypatch.chdir(repository)
    config = getattr(two_steps, model).replace(learning_rate=0.5)
    with pytest.raises(NlaError, match=f"other settings than today's.*dvc repro {model}"):
        load(Material(two_steps.replace(**{model: config})))
    with monkeypatch.context() as patch:
        patch.setattr(Material, "digests", lambda *_: {"activations": "another"})
        with pytest.raises(NlaError, match=f"other data than today's.*dvc repro {model}"):
            load(Material(two_steps))
    template = {"av": AVTemplate, "ar": ARTemplate}[model]
    monkeypatch.setattr(template, "digest", lambda _: "another")
    with pytest.raises(NlaError, match=r"checkpoint mismatch: template is .* expected 'another'"):
        load(warm)


@pytest.mark.usefixtures("without_mlflow")
def test_a_run_whose_adapters_have_another_shape_is_refused(
    two_steps: Profile, repository: Path, warm: Material, monkeypatch: pytest.MonkeyPatch
):
    """After the tests of these arms, or on its own."""
    monkeypatch.chdir(repository)
    one = PolicyArm(load_experiment("baseline"), "control", two_steps, warm)
    folder = one.run_seed(0, one.tune())
    wider = two_steps.replace(rl=two_steps.rl.replace(lora_rank=8))
    other = PolicyArm(load_experiment("baseline"), "control", wider, warm)
    with pytest.raises(NlaError, match="another architecture"):
        other.load(folder)


@pytest.mark.usefixtures("without_mlflow")
def test_a_policy_that_gains_nothing_more_is_done(
    two_steps: Profile, repository: Path, warm: Material, monkeypatch: pytest.MonkeyPatch
):
    """At a rate of next to nothing the look before the first step is the best."""
    monkeypatch.chdir(repository)
    rates = {"learning_rate": 1e-12, "ar_learning_rate": 1e-12}
    long = two_steps.rl.replace(steps=6, validations=3, patience=1, **rates)
    one = PolicyArm(load_experiment("baseline"), "control", two_steps.replace(rl=long), warm)
    folder = one.run_seed(1, one.tune())
    rewards = [values["rl_reward"] for _, values in folder.metrics() if "rl_reward" in values]
    assert len(rewards) == 2
    assert "no better dev FVE in 1 looks" in folder.summary["flattened"]


def test_the_true_activation_loses_no_reward_by_its_splice(
    two_steps: Profile, repository: Path, warm: Material, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(repository)
    one = PolicyArm(load_experiment("baseline"), "control", two_steps, warm)
    keys = load_activations(warm.trunk.activations, ["rl"], ["key"])["key"].to_list()[:3]
    vectors = warm.store[keys]
    both = torch.stack([vectors, torch.randn(vectors.shape)], 1).flatten(0, 1)
    lost = one._splice(keys, both).view(3, 2)
    assert lost[:, 0].tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert (lost[:, 1] > 1e-4).all()


@pytest.mark.usefixtures("without_mlflow")
@pytest.mark.parametrize("run", ["ar_small/control/0", "baseline/control/0"])
def test_a_run_is_released_and_explains(
    run: str,
    two_steps: Profile,
    repository: Path,
    warm: Material,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """After the tests of these arms, or on its own."""
    monkeypatch.chdir(repository)
    experiment, arm, _ = run.split("/")
    one = load_experiment(experiment)
    best = Best({}, (0.0,), 0, 1) if one.arm_class is PolicyArm else Best(TUNED, (0.0,), 0, 1)
    one.arm_class(one, arm, two_steps, warm).run_seed(0, best)
    folder = Path("released") / experiment
    release(named_run(two_steps.name, run), folder, two_steps)
    card = (folder / "README.md").read_text()
    assert "| these files |" in card
    assert f"--ar released/{experiment}" in card
    explain_text("The quiet river crosses the plain. " * 4, -1, folder, two_steps)
    told = capsys.readouterr().out
    assert str(folder) in told
    assert "FVE" in told


def test_an_arm_may_run_fewer_seeds(smoke: Profile, monkeypatch: pytest.MonkeyPatch):
    params = {"arms": {"control": {}, "frozen_ar": {}}, "only": {}, "search": {}}
    fewer = ExperimentParams.model_validate(params | {"seeds": {"smoke": {"frozen_ar": 1}}})
    monkeypatch.setattr(Experiment, "params", fewer)
    assert loaded("baseline").seeds_of("frozen_ar", smoke) == smoke.tuning.seeds[:1]
    assert loaded("baseline").seeds_of("control", smoke) == smoke.tuning.seeds
    fewest = ExperimentParams.model_validate(params | {"seeds": {"smoke": {"control": 1}}})
    monkeypatch.setattr(Experiment, "params", fewest)
    assert loaded("baseline").seeds_of("frozen_ar", smoke) == smoke.tuning.seeds[:1]
    for counts in ({"nobody": 1}, {"frozen_ar": 0}):
        with pytest.raises(ValidationError, match=r"seeds\.smoke"):
            ExperimentParams.model_validate(params | {"seeds": {"smoke": counts}})


def test_an_unknown_experiment_is_answered_with_the_known_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(NlaError, match=r"choose one of .*ar_small"):
        load_experiment("nosuch")
