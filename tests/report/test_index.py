import json
from pathlib import Path

import pytest
import yaml

from common.errors import NlaError
from common.report.index import render_index
from common.report.markdown import ABSENT
from common.report.questions import load_questions

ROOT = Path(__file__).parents[2]
QUESTIONS = [
    {"question": "Does it | work?", "experiments": ["baseline"]},
    {"question": "How small?", "experiments": ["ar_small", "ar_small_rl", "ar_tiny"]},
]


@pytest.fixture
def experiments(tmp_path):
    folder = tmp_path / "experiments"
    for name in ("baseline", "ar_small", "ar_small_rl", "other"):
        (folder / name).mkdir(parents=True)
        for file in ("params.yaml", "README.md"):
            (folder / name / file).touch()
    (folder / "questions.yaml").write_text(yaml.safe_dump({"questions": QUESTIONS}))
    return folder


@pytest.fixture
def reports(tmp_path):
    (tmp_path / "reports").mkdir()
    return tmp_path / "reports"


def write(folder, profile: str, name: str, **fields: object) -> None:
    (folder / profile).mkdir(exist_ok=True)
    (folder / profile / f"{name}.md").touch()
    entry = {"experiment": name, "profile": profile} | fields
    (folder / profile / f"{name}.json").write_text(json.dumps(entry))


def index(reports, experiments) -> list[str]:
    render_index(reports, experiments)
    return (reports / "README.md").read_text().splitlines()


def test_questions_answers_and_what_is_not_run_yet(reports, experiments):
    write(reports, "laptop", "baseline", sentence="Yes | no.", key="`a`: 0.1 [0.0, 0.2]°")
    write(reports, "gpu", "baseline", sentence="No.", key=ABSENT)
    write(reports, "smoke", "baseline", sentence="Not measured.", checks_only=True)
    write(reports, "laptop", "ar_small", question="?", verdict="Old.\nLong.")
    write(reports, "quick", "ar_small", question="?", verdict="Old.")
    lines = index(reports, experiments)
    start = lines.index("| question | answer | key figure | profile | report |")
    assert lines[start + 2 : start + 7] == [
        rf"| Does it \| work? | No. | {ABSENT} | gpu | [`baseline`](gpu/baseline.md) |",
        r"|  | Yes \| no. | `a`: 0.1 [0.0, 0.2]° | laptop | [`baseline`](laptop/baseline.md) |",
        f"| How small? | older report | {ABSENT} | {ABSENT} "
        "| `ar_small`: [laptop](laptop/ar_small.md), [quick](quick/ar_small.md) |",
        f"|  | not yet run | {ABSENT} | {ABSENT} "
        "| [`ar_small_rl`](../experiments/ar_small_rl/README.md) |",
        f"|  | not yet run | {ABSENT} | {ABSENT} | `ar_tiny` |",
    ]
    others = lines.index("## Other experiments")
    assert lines[others + 4] == ("|  | not yet run | [`other`](../experiments/other/README.md) |")


def test_no_report_yet(reports, experiments):
    assert sum("not yet run" in line for line in index(reports, experiments)) == 5


def test_an_entry_without_its_report_is_left_out(reports, experiments):
    """DVC removes a report before it makes it again, but not the entry beside it."""
    write(reports, "laptop", "baseline", sentence="Yes.", key=ABSENT)
    (reports / "laptop" / "baseline.md").unlink()
    assert not any("Yes." in line for line in index(reports, experiments))


def test_a_broken_entry_is_named(reports, experiments):
    write(reports, "laptop", "baseline")
    (reports / "laptop" / "baseline.json").write_text("{}")
    with pytest.raises(NlaError, match="lacks experiment"):
        render_index(reports, experiments)


def test_no_other_experiments_no_section(reports, experiments):
    for file in (experiments / "other").iterdir():
        file.unlink()
    assert "## Other experiments" not in index(reports, experiments)


def test_the_questions_of_the_lab():
    asked = load_questions(ROOT / "experiments")
    assert len(asked.questions) == 9
    assert all(one.question.endswith("?") for one in asked.questions)
    assert {"baseline", "scheming", "ar_flowchart", "ar_uses"} <= asked.experiments
