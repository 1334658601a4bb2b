from pathlib import Path

import pytest

from common.errors import NlaError
from common.report import readme
from common.report.clauses import (
    BEST_FLOOR,
    GREATER,
    LESS,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
    not_greater,
    not_less,
    within,
)
from common.report.measured import ROUND_TRIP, Fve, MeanOf, Test
from common.report.rule import Rule
from common.report.wording import direction_words, joined

TEXT = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\n\nThe rest.\n"
RULE = Rule(
    "Is it longer?",
    (
        Clause("It reads", (Contrast("a"),), ROUND_TRIP, GREATER, listed=False),
        Clause(
            "It is longer",
            EachArm("control", ("control", "start"), prefix="b_"),
            MeanOf("tokens", "length in tokens"),
            LESS,
            Test.SIGN_FLIP,
            Correction.HOLM,
            Pairs.EVERY,
            ("It reads",),
            remark="So much for that.",
        ),
        Clause("It is good", EachArm(0.0), requires=("It reads", "It is longer")),
        Clause("Beside", (Contrast("a", BEST_FLOOR), Contrast("a", 0.5)), ROUND_TRIP),
        Clause(
            "It reads for all",
            (Contrast("a", "b"),),
            Fve("av_neutral_ar", 1),
            GREATER,
            given=("It reads",),
            each_reader=True,
        ),
    ),
    "Written before.",
    remark="End.",
    items="sentences",
    cluster="topic",
    collapse_counts=False,
)
WORDS = """\
Written before. Differences are paired on the same sentences. *Shown* means that the whole 95 %
interval of a difference (bootstrap by topic) lies where its clause says, and that all else which
the clause asks for holds too. A *pair* is an AV and an AR that were warm-started together.

1. *It reads*: FVE under its own AR, `a`: above zero.
2. *It is longer*: length in tokens, each arm called `b_...` but `control` and `start`, minus
   `control`: below zero; p < 0.05 (sign flips by topic) after Holm's correction for the number of
   arms; and in each of the arm's pairs (the other needs them too). Needs 1. So much for that.
3. *It is good*: a conclusion about each arm but `control`. Needs 1 and 2.
4. *Beside*: FVE under its own AR, `a` minus the best floor and `a` minus 0.5. Reported, but decides
   nothing.
5. *It reads for all*: FVE beyond the last token under the neutral ARs, `a` minus `b`: above zero;
   the whole interval, for each neutral AR too. No conclusion either way without 1.

What fails a clause is reported as *not shown*, what lies outside of it with its whole interval as
*the other way* (and so is a conclusion, where a clause that it needs is), what cannot be measured
as *not measured*. A clause that needs others also requires them to be shown: for the same arm or,
if they do not cover it, for every arm they cover. Nothing is shown for an arm of which a run was
stopped early because it had collapsed, nor for any arm where that happened to `control`. End."""


def test_words_of_a_rule():
    assert RULE.words() == WORDS


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        (GREATER, "above zero"),
        (LESS, "below zero"),
        (not_less(0.05), "above -0.05"),
        (not_greater(0.01), "below 0.01"),
        (within(0.02), "between -0.02 and 0.02"),
    ],
)
def test_words_of_a_direction(direction: Direction, words: str):
    assert direction_words(direction) == words


def test_names_are_joined():
    assert [joined(list("abc"[:count])) for count in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_the_rule_takes_the_place_of_what_stood_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "some" / "README.md"
    file.parent.mkdir()
    file.write_text(TEXT)
    monkeypatch.setattr(readme, "EXPERIMENTS", tmp_path)
    monkeypatch.setattr(readme, "load_rule", lambda name: RULE)
    for _ in range(2):
        readme.write_rule("some")
        assert readme.rule_of(file) == WORDS
        assert file.read_text().startswith("# Title\n")
        assert file.read_text().endswith("\n\nThe rest.\n")


def test_a_readme_without_a_place_is_refused(tmp_path: Path):
    (tmp_path / "README.md").write_text("# Title\n")
    with pytest.raises(NlaError, match="no place for the decision rule"):
        readme.rule_of(tmp_path / "README.md")
