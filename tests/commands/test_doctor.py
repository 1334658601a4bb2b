"""`nla doctor`: what is missing, and the command that fixes it."""

from pathlib import Path

import pytest

from common.trunk.choice import SECTIONS
from tests.command_line import end_of


def test_doctor_names_a_command_for_everything_that_is_missing(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    told = capsys.readouterr().out.splitlines()
    missing = [line for line in told if "missing" in line]
    for stage in SECTIONS:
        assert any(line.endswith(f"→ dvc repro {stage}") for line in missing), stage
    assert all("→" in line for line in missing)
    assert any("ok" in line and "library torch" in line for line in told)


def test_doctor_is_content_with_what_is_there(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    missing = [line for line in capsys.readouterr().out.splitlines() if "missing" in line]
    remedies = [line.partition("→ ")[2] for line in missing]
    assert remedies == [f"dvc repro {stage}" for stage in ("floors", "av", "ar") for _ in range(2)]


def test_doctor_finds_what_is_damaged(
    with_trunk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    corpus = with_trunk / "data/smoke/corpus.parquet"
    whole = corpus.read_bytes()
    corpus.write_bytes(whole[:-1])
    assert end_of("doctor", monkeypatch=monkeypatch) == 1
    corpus.write_bytes(whole)
    assert "→ dvc repro corpus" in capsys.readouterr().out


def test_doctor_of_another_profile_says_how_to_get_there(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (repository / "params.yaml").write_text("profile: laptop\n")
    assert end_of("doctor", "--profile", "smoke", monkeypatch=monkeypatch) == 1
    assert "→ nla profile smoke && dvc repro target" in capsys.readouterr().out
