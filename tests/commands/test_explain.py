"""`nla explain`: what it reads, what it shows, and what it says of how far to trust it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from common.commands.explain import Found, check_position, judged, last_tokens, marked
from common.commands.pair import make_target, standing_with
from common.config import AVConfig
from common.errors import NlaError
from common.evaluation.test_set import TestSet
from common.manifest import read_manifest
from common.metrics.standing import Familiar, Standing, percentiles
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.paths import TrunkPlaces
from common.profile import Profile, load_profile
from common.release.released import Spoken, save_released, save_standing
from common.target.load import Target
from common.target.text import encode_document
from common.trunk.artefacts import Trunk
from common.trunk.choice import choose_trunk
from tests.command_line import Refusal, end_of

TEXT = "The quiet river crosses the Mirel plain. " * 4
FAMILIAR = Familiar(torch.zeros(64), torch.eye(64))
STANDING = Standing(
    cosines=percentiles(torch.linspace(0, 1, 101)),
    novelties=percentiles(torch.linspace(0, 0.5, 101)),
    familiar=FAMILIAR,
    fve=0.41,
)


@pytest.fixture
def released(
    with_trunk: Path, target: Target, av_config: AVConfig, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An untrained pair, kept below released/, without a test."""
    folder = with_trunk / "released" / "tiny"
    verbalizer = Verbalizer(target.model, target.tokenizer, av_config, alpha=7.0)
    reconstructor = TruncatedReconstructor(target.model, target.tokenizer, 3, 24)
    spoken = Spoken(["On rivers.", "Music."], torch.randn(2, 64))
    with torch.no_grad():
        for model in (verbalizer, reconstructor):
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn_like(parameter) * parameter.requires_grad
    monkeypatch.chdir(with_trunk)
    save_released(
        folder, verbalizer, reconstructor, target, spoken, layer=8, variance=60.0, run="runs/x"
    )
    return folder


@pytest.fixture
def explained(released: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs `nla explain` and returns its lines by their first word."""

    def explain(text: str, *words: str, ar: str = "released/tiny") -> dict[str, str]:
        assert end_of("explain", text, "--ar", ar, *words, monkeypatch=monkeypatch) == 0
        told = capsys.readouterr()
        assert told.err == ""
        return dict(line.split(maxsplit=1) for line in told.out.splitlines())

    return explain


def test_a_release_explains_from_any_folder(
    released: Path, explained, monkeypatch: pytest.MonkeyPatch
):
    told = explained(TEXT, "--position", "20")
    assert set(told) == {"text", "position", "explanation", "NLA", "cosine", "FVE"}
    assert told["NLA"] == "released/tiny"
    assert told["position"].startswith("token 21 of 38 (--position 20), layer 8")
    monkeypatch.chdir(released)
    assert explained(TEXT, "--position", "20") == told
    monkeypatch.chdir(released)
    assert explained(TEXT, "--position", "20", ar="../tiny") == told


def test_where_a_row_stands_is_told_as_soon_as_the_release_knows(
    released: Path, explained, smoke: Profile
):
    held_out = TestSet(Trunk(choose_trunk(smoke)))
    save_standing(released, standing_with(held_out, torch.linspace(-1, -0.99, 50), 0.25), note=1)
    assert explained(TEXT)["cosine"].endswith(", above 100 % of the pair's test activations")
    assert read_manifest(released, "release")["note"] == 1


def test_a_release_knows_what_it_was_trained_on(released: Path, explained, refused: Refusal):
    save_standing(released, STANDING, reads={"min_position": 30, "max_tokens": 34})
    assert "outside 30 to 37" in refused("explain", TEXT, "--ar", "released/tiny", "--position=29")
    assert "the last 33 are read" in explained(TEXT)["position"]


def test_a_long_text_is_read_as_far_back_as_in_training(explained):
    long = explained(f"{'Nobody knows this. ' * 3000}{TEXT * 3}")
    short = explained(TEXT * 3)
    assert long["explanation"] == short["explanation"]
    assert long["cosine"] == short["cosine"]
    assert long["position"].endswith("of what is before it the last 63 are read, as in training")
    assert "…" in long["text"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("caf\udce9 au lait", "byte 0xe9 at character 3 is no UTF-8"),
        ("The river is deep.", "activations are read from position 16 on: give a longer text"),
    ],
)
def test_a_text_that_cannot_be_explained(released: Path, refused: Refusal, text: str, said: str):
    assert said in refused("explain", text, "--ar", "released/tiny")


def test_a_position_outside_of_the_text(released: Path, refused: Refusal):
    line = refused("explain", TEXT, "--ar", "released/tiny", "--position", "900")
    assert line.endswith("position 900 is outside 16 to 37 [--position]: choose a position inside")


@pytest.mark.parametrize("name", ["baseline/control", "baseline/control/0", "nosuch"])
def test_a_run_that_is_not_there(repository: Path, refused: Refusal, name: str):
    assert f"{name!r} names no run" in refused("explain", TEXT, "--ar", name)


def test_where_nothing_is_trained_the_releases_are_named(released: Path, refused: Refusal):
    assert "name a release with --ar (released/tiny)" in refused("explain", TEXT)
    line = refused("explain", TEXT, "--ar", "released/nosuch")
    assert "no released NLA [released/nosuch]: choose one of released/tiny" in line


@pytest.mark.parametrize(
    ("position", "column"), [(-1, 19), (16, 16), (-4, 16), (15, None), (-5, None), (20, None)]
)
def test_positions_count_from_both_ends(position: int, column: int | None):
    if column is not None:
        assert check_position(position, 20, 16) == column
        return
    with pytest.raises(NlaError, match="outside 16 to 19"):
        check_position(position, 20, 16)


def test_the_beginning_is_kept_when_a_text_is_cut():
    assert last_tokens([1, 2, 3], 3, [1]) == [1, 2, 3]
    assert last_tokens([1, 2, 3, 4, 5], 3, [1]) == [1, 4, 5]
    assert last_tokens([1, 2, 3, 4, 5], 3, []) == [3, 4, 5]


@pytest.mark.parametrize(
    ("text", "column", "shown"),
    [
        ("The quiet river", 2, "The ⟦quiet⟧ river"),
        ("I like 🍕 and שלום", None, "I like 🍕 and שלו⟦ם⟧"),
        ("a\nb", 1, "a⟦\\n⟧b"),
    ],
)
def test_a_position_is_marked_in_its_text(
    target: Target, text: str, column: int | None, shown: str
):
    ids = encode_document(target.tokenizer, text)
    assert marked(target.tokenizer, ids, len(ids) - 1 if column is None else column) == shown


def test_every_position_of_any_text_is_shown_in_whole_characters(target: Target):
    text = "I like 🍕🍕 and שלום עולם, naïve café. " * 3
    ids = encode_document(target.tokenizer, text)
    for column in range(len(ids)):
        shown = marked(target.tokenizer, ids, column)
        assert "\ufffd" not in shown
        assert shown.count("⟦") == shown.count("⟧") == 1


def test_what_a_number_means_stands_beside_it():
    good = judged(Found("words", 0.705, 0.35, 0.1), STANDING)
    assert good == {
        "cosine": "0.705, above 70 % of the pair's test activations",
        "FVE": "0.350",
    }
    bad = judged(Found("words", 0.2, -0.49, 0.51), STANDING)
    assert bad["FVE"].startswith("-0.490: worse than answering the mean")
    assert bad["FVE"].endswith("do not trust this")
    assert "51% of this activation lies outside" in bad["warning"]
    assert "more than in 99 % of the test activations (50%)" in bad["warning"]
    assert "FVE of 0.41" in bad["warning"]
    assert judged(Found("words", 0.705, 0.35, None), None) == {"cosine": "0.705", "FVE": "0.350"}


def test_where_the_ar_sees_some_of_the_input_it_is_told_what_the_words_add():
    found = Found("words", 0.705, 0.6, None, unsaid=0.2)
    assert found.conditional == pytest.approx(0.5), "half of the .8 that was left open"
    told = judged(found, None)["conditional"]
    assert told.startswith("0.500 of the error that the AR makes with its part of the input alone")
    assert told.endswith("an FVE of 0.200")
    assert Found("words", 0.705, 0.6, None).conditional is None
    assert Found("words", 1.0, 1.0, None, unsaid=1.0).conditional is None


def test_the_target_is_made_where_it_is_missing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By DVC, that it may find it valid; by hand where DVC goes by another profile."""
    asked: list[list[str]] = []
    done = SimpleNamespace(returncode=0)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: asked.append(command) or done)
    smoke = load_profile("smoke")
    make_target(smoke)
    assert [command[1:] for command in asked] == [["-m", "dvc", "repro", "--quiet", "target"]]
    assert asked[0][0] == sys.executable
    assert "data/smoke/target is not there yet" in capsys.readouterr().err
    done.returncode = 1
    with pytest.raises(NlaError, match="`dvc repro target` failed"):
        make_target(smoke)

    (repository / "params.yaml").write_text("profile: laptop\n")
    make_target(smoke)
    assert len(asked) == 2
    read_manifest(TrunkPlaces("smoke").target, "target", kind="target")
    make_target(smoke)
    assert capsys.readouterr().err.count("not there yet") == 2
