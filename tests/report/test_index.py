import json

import pytest

from common.errors import NlaError
from common.report.index import render_index
from common.report.markdown import ABSENT


def write(folder, profile: str, name: str, verdict: str) -> None:
    entry = {"experiment": name, "profile": profile, "question": "A | b?", "verdict": verdict}
    (folder / profile).mkdir(exist_ok=True)
    (folder / profile / f"{name}.md").touch()
    (folder / profile / f"{name}.json").write_text(json.dumps(entry))


def test_profiles_stand_side_by_side(tmp_path):
    write(tmp_path, "laptop", "baseline", "Yes.\nMore words.")
    write(tmp_path, "gpu", "baseline", "No.")
    write(tmp_path, "laptop", "ar_small", "`small` ties.")
    write(tmp_path, "smoke", "baseline", "Nothing.")
    render_index(tmp_path)
    lines = (tmp_path / "README.md").read_text().splitlines()
    assert lines[-4:] == [
        "| experiment | question | gpu | laptop |",
        "| --- | --- | --- | --- |",
        rf"| `ar_small` | A \| b? | {ABSENT} | `small` ties. ([report](laptop/ar_small.md)) |",
        r"| `baseline` | A \| b? | No. ([report](gpu/baseline.md)) "
        "| Yes. ([report](laptop/baseline.md)) |",
    ]


def test_no_report_yet(tmp_path):
    render_index(tmp_path)
    assert "No report yet." in (tmp_path / "README.md").read_text()


def test_an_entry_without_its_report_is_left_out(tmp_path):
    """DVC removes a report before it makes it again, but not the entry beside it."""
    write(tmp_path, "laptop", "baseline", "Yes.")
    write(tmp_path, "laptop", "ar_small", "No.")
    (tmp_path / "laptop" / "baseline.md").unlink()
    render_index(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "ar_small" in text
    assert "baseline" not in text


def test_a_broken_entry_is_named(tmp_path):
    write(tmp_path, "laptop", "baseline", "Yes.")
    (tmp_path / "laptop" / "baseline.json").write_text("{}")
    with pytest.raises(NlaError, match="lacks experiment"):
        render_index(tmp_path)
