"""Sections on the arms' own texts."""

import polars as pl
import pytest

from common.report.content import content_sections
from common.report.results import Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from tests.report.spoken import spoken_results


@pytest.fixture(scope="module")
def spoken() -> Results:
    return spoken_results()


def cells(section: Section, arm: str, table: int = 0) -> dict[str, str]:
    """{title: cell} of an arm's row in one of a section's tables."""
    lines = [line for line in section.markdown.splitlines() if line.startswith("|")]
    starts = [place for place, line in enumerate(lines) if line.startswith("| ---")]
    titles = lines[starts[table] - 1].strip("| ").split(" | ")
    (line,) = [
        line for line in lines[starts[table] :][: 1 + len(lines)] if line.startswith(f"| `{arm}`")
    ][:1]
    return dict(zip(titles, line.strip("| ").split(" | "), strict=True))


def test_sections_of_what_was_measured(spoken: Results):
    titles = [section.title for section in spoken_sections(spoken)]
    assert titles == [
        "What the explanations look like",
        "Copied words",
        "What the explanations say",
        "In the target's place",
        "Several explanations of one activation",
    ]
    bare = spoken._replace(measures=spoken.measures.clear())
    assert spoken_sections(bare) == []


def test_copied_words_stand_beside_chance(spoken: Results):
    (section,) = [one for one in spoken_sections(spoken) if one.title == "Copied words"]
    last = cells(section, "control")["last word"]
    assert (last[:6], last[-7:]) == ("0.595 ", "; 0.576")
    assert list(cells(section, "warm_start"))[1:] == [
        "last word",
        "last two words",
        "last three words",
        "last four words",
    ]


def test_what_explanations_say(spoken: Results):
    (section,) = content_sections(spoken)
    hits = cells(section, "control")
    assert hits["content"].startswith("0.240 [")
    assert list(hits)[2:] == [
        "likeliest next token",
        "one of the five likeliest",
        "title",
        "topic",
        "syntax",
    ]
    decoded = cells(section, "control", table=1)
    assert decoded["topic"].endswith(" (0.100, 0.599, 0.505)"), "floor, ceiling and source text"
    assert "syntax" not in decoded, "not measured"


def test_content_without_a_classifier(spoken: Results):
    known = spoken.measures.filter(~pl.col("measure").str.starts_with("decodable"))
    (section,) = content_sections(spoken._replace(measures=known))
    assert "classifier" not in section.markdown
    only = spoken.measures.filter(pl.col("measure").str.starts_with("decodable"))
    (section,) = content_sections(spoken._replace(measures=only))
    assert "names a known fact" not in section.markdown
