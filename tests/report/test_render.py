import json
import re

import polars as pl
import pytest
from matplotlib.figure import Figure

from common.report import render as rendering
from common.report.clauses import GREATER, Clause, Contrast, Phrases
from common.report.markdown import ABSENT
from common.report.measured import Auroc
from common.report.render import MOST_LINES, fill_template, render_report
from common.report.results import Results
from common.report.rule import Rule, load_rule
from common.report.section import Drawing, Section
from common.report.verdict import NOT_MEASURED, Finding, Verdict
from tests.report.golden import FOLDER, PAGES, RULE, render_synthetic
from tests.report.spoken import scored_results, spoken_results
from tests.report.synthetic import synthetic_results

MONITORS = Rule(
    question="Do explanations reveal what a transcript hides?",
    clauses=(
        Clause(
            "They beat the transcript",
            (Contrast("explanations", "control"),),
            Auroc(),
            GREATER,
            phrases=Phrases("explanations reveal more", "they are not shown to"),
        ),
    ),
    written="Written before.",
    items="transcripts",
    cluster="topic",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "laptop" / "report.md"
    render_synthetic(out)
    return out


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> tuple[str, str]:
    """Page and details of arms that write texts of their own."""
    out = tmp_path_factory.mktemp("spoken") / "baseline.md"
    return render(spoken_results(), out, rule=load_rule("baseline")), details(out)


def render(results: Results, out, sections=(), rule: Rule = RULE) -> str:
    render_report(results, rule, rule.judge(results), sections, out)
    return out.read_text()


def details(out) -> str:
    return out.with_name(f"{out.stem}.details.md").read_text()


def row(text: str, start: str) -> list[str]:
    """The cells of the first line of a table that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


@pytest.mark.parametrize("name", PAGES)
def test_golden_report(report, name: str):
    assert (report.parent / name).read_text() == (FOLDER / name).read_text(), (
        "the report changed; if that is meant, `python -m tests.report.golden` writes it anew"
    )


def test_rendering_again_gives_the_same_bytes(report, tmp_path):
    render_synthetic(tmp_path / "report.md")
    figures = [f"report/{file.name}" for file in report.with_suffix("").iterdir()]
    for name in (*PAGES, "report.json", *figures):
        assert (tmp_path / name).read_bytes() == (report.parent / name).read_bytes()


def test_a_page_is_read_in_a_minute(report, spoken, tmp_path):
    scored = render(scored_results(), tmp_path / "monitors.md", rule=MONITORS)
    for page in (report.read_text(), spoken[0], scored):
        assert len(page.splitlines()) <= MOST_LINES
        assert page.count("![") <= 3


def test_examples_make_room(monkeypatch: pytest.MonkeyPatch, tmp_path):
    results, rule = spoken_results(), load_rule("baseline")
    whole = render(results, tmp_path / "whole.md", rule=rule)
    assert whole.count("| **source** |") == 4
    monkeypatch.setattr(rendering, "MOST_LINES", len(whole.splitlines()) - 1)
    assert render(results, tmp_path / "less.md", rule=rule).count("| **source** |") == 3
    monkeypatch.setattr(rendering, "MOST_LINES", 40)
    assert "What it looks like" not in render(results, tmp_path / "none.md", rule=rule)


def test_page_and_details_lead_to_one_another(report):
    page = report.read_text()
    assert "(report.details.md)" in page
    assert "(report/results)" in page
    assert "(../../experiments/synthetic/README.md)" in page
    assert "(report.md)" in details(report)
    assert RULE.words() in details(report)
    assert "Written before the run" not in page


def test_opens_with_question_answer_and_verdict(report):
    text = report.read_text()
    parts = ("**Question.**", "**Answer.** `input_aware` reads more", "| clause |", "\n## The arms")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    clause = "An arm reads more (FVE under its own AR)"
    aware, small = row(text, clause), row(text, " | `small`")
    assert aware[1:3] == ["`input_aware` - `control`", "**shown**"]
    assert small[1:3] == ["`small` - `control`", "not shown"]
    assert small[3].endswith("°")
    assert text.count(clause) == 1
    assert "corrected p" not in text, "no clause asks for one"


def test_the_main_table_of_the_same_texts_for_all(report):
    text = report.read_text()
    titles = row(text, "arm")
    assert titles[1:4] == [
        f"{what}, AV's explanations"
        for what in ("FVE", "beyond the last token", "beyond the last four tokens")
    ]
    assert titles[4:7] == [
        "FVE, teacher's explanations",
        "beyond the last token, teacher's explanations",
        "top-1",
    ]
    assert len(titles) <= 11
    assert row(text, "`small`")[7:] == ["20.0 M", "2 min", "3: 0.135 to 0.174"]
    assert row(text, "*floor* `shuffled`")[4].startswith("-0.8")
    assert "own_blocks_last" not in text


def test_the_main_table_of_texts_of_their_own(spoken):
    page, rest = spoken
    titles = row(page, "arm")
    assert titles[1:] == [
        "FVE, own AR",
        "beyond the last token, own AR",
        "beyond the last four tokens, own AR",
        "beyond the last token, neutral ARs",
        "top-1",
        "last word copied",
        "content",
        "tokens",
        "training",
        "pairs",
    ]
    assert "trained parameters" not in titles, "the same in every arm"
    control = dict(zip(titles, row(page, "`control`"), strict=True))
    assert control["tokens"] == "49"
    assert control["last word copied"] == "0.595"
    assert row(page, "`warm_start`")[-1].startswith("3: ")
    assert row(page, "*ceiling* `own_blocks`")[1] == "1.000 [1.000, 1.000]"
    assert row(page, "*floor* `look_up`")[4] == ABSENT, "no AR reads for it"
    assert "`frozen_ar`, `frozen_av` have one pair" in page
    for source in ("teacher's explanations", "AV's explanations, read by the arm's AR as it was"):
        assert f"## FVE on the {source}" in rest


def test_without_errors_beyond_tokens_fve_stands_alone(tmp_path):
    results = spoken_results()
    rows = results.rows.with_columns(
        pl.lit(None, pl.Float64).alias(f"error_beyond_{k}") for k in (0, 1, 4)
    )
    page = render(results._replace(rows=rows), tmp_path / "older.md", rule=load_rule("baseline"))
    assert row(page, "arm")[1:4] == ["FVE, own AR", "FVE, neutral ARs", "top-1"]
    assert "- Not measured, nothing was measured beyond the last token: *Other ARs" in page
    assert "*beyond the last token*" not in page
    rest = details(tmp_path / "older.md")
    assert "best length |" not in rest


def test_notes_on_training_stand_on_the_page(report, spoken):
    assert "`look_up`, which is fitted in closed form, has more FVE than" in report.read_text()
    assert "**not trained well enough**" in spoken[0]


def test_the_figure_of_copied_tokens_comes_first(report, spoken):
    for page in (report.read_text(), spoken[0]):
        assert re.findall(r"/(\w+)\.png", page)[0] == "copied"
        assert "Worth of the FVE in copied tokens" in page


def test_details_hold_swaps(spoken):
    rest = spoken[1]
    assert "| arm | the last quoted word | the quote | all but the quote | the topic" in rest


def test_a_reference_row_stands_once(spoken):
    assert spoken[1].count("*floor* `tfidf_ridge`") == 1
    assert spoken[1].count("*ceiling* `own_blocks`") == 1


def test_an_experiment_without_fve(tmp_path):
    text = render(scored_results(), tmp_path / "monitors.md", rule=MONITORS)
    assert "**Answer.** Explanations reveal more." in text
    assert "| arm | AUROC | words |" in text
    auroc = [float(row(text, f"`{arm}`")[1].split()[0]) for arm in ("control", "explanations")]
    assert auroc == pytest.approx([0.618, 0.835], abs=0.001)
    assert "FVE" not in text
    assert "95 % bootstrap intervals over 30 topics" in text
    assert "90 transcripts of 30 topics" in text
    assert "![Means of each arm.](monitors/measures.png)" in text
    rest = details(tmp_path / "monitors.md")
    assert "| arm | label | score | words |" in rest
    assert "FVE" not in rest


def test_too_few_documents_are_told_once(tmp_path):
    text = render(spoken_results(6), tmp_path / "few.md", rule=load_rule("baseline"))
    said = "Too few documents (6): this checks the pipeline only."
    assert text.index(said) < text.index("**Question.**")
    rest = details(tmp_path / "few.md")
    assert not re.search(r"\d \[-?\d", text + rest), "no interval"
    assert "interval" not in text
    assert "no interval" not in rest
    assert "corrected p" not in text
    rows = [line for line in text.splitlines() if "` - `" in line]
    assert rows
    assert all(line.endswith(f"| {NOT_MEASURED} |") for line in rows)
    entry = json.loads((tmp_path / "few.json").read_text())
    assert entry["checks_only"]


def test_of_too_few_documents_nothing_is_believed(tmp_path):
    """Whatever the verdict says."""
    results = synthetic_results()
    few = results._replace(rows=results.rows.filter(pl.col("doc_id") < "document-05"))
    shown = RULE.judge(results)
    assert shown.key is not None
    render_report(few, RULE, shown, [], tmp_path / "few.md")
    text = (tmp_path / "few.md").read_text()
    assert "**Answer.** Not measured." in text
    assert "shown" not in text
    assert json.loads((tmp_path / "few.json").read_text())["key"] == ABSENT


def test_a_long_verdict_goes_on_in_the_details(tmp_path):
    rows = [
        Finding(f"Clause {n}", "`a` - `b`", "tokens", "not shown", None, 0.5, "") for n in range(60)
    ]
    render_report(synthetic_results(), RULE, Verdict("So.", tuple(rows)), [], tmp_path / "long.md")
    text = (tmp_path / "long.md").read_text()
    assert "20 more rows" in text
    assert len(text.splitlines()) <= MOST_LINES
    assert text.count("| Clause") == 40
    assert details(tmp_path / "long.md").count("| Clause") == 60


def test_a_floor_that_is_missing_has_its_reason(tmp_path):
    results = synthetic_results()
    facts = results.facts | {"missing_floors": {"tfidf_ridge": "the texts are of one document"}}
    rows = results.rows.filter(pl.col("arm") != "tfidf_ridge")
    render(results._replace(facts=facts, rows=rows), tmp_path / "report.md")
    text = details(tmp_path / "report.md")
    assert text.count("- No floor `tfidf_ridge`: the texts are of one document.") == 1
    assert "`tfidf_ridge` |" not in text


def test_figures_in_the_text_are_those_on_disk(report):
    names = {file.name for file in report.with_suffix("").iterdir()}
    drawn = {"copied", "fve", "survival", "prefix", "cost", "curves"}
    assert names == {f"{name}.png" for name in drawn}
    both = report.read_text() + details(report)
    assert all(both.count(f"](report/{name})") == 1 for name in names)


def test_figures_of_the_experiment_come_before_the_usual(tmp_path):
    own = [
        Drawing(name, f"{name}.", Figure(), on_page=on_page)
        for name, on_page in (("front", True), ("aside", False))
    ]
    text = render(synthetic_results(), tmp_path / "r.md", [Section("Own", "Words.", tuple(own))])
    assert re.findall(r"\(r/(\w+)\.png\)", text) == ["copied", "fve", "front"]
    assert "## Own\n\nWords.\n\n![aside.](r/aside.png)" in details(tmp_path / "r.md")


def test_a_section_may_be_on_the_page(tmp_path):
    own = [Section("Seen", "Words.", on_page=True), Section("Aside", "More words.")]
    text = render(synthetic_results(), tmp_path / "r.md", own)
    assert "## Seen\n\nWords.\n" in text
    assert "Aside" not in text
    assert "## Aside\n\nMore words.\n" in details(tmp_path / "r.md")
    assert "## Seen" not in details(tmp_path / "r.md")


def test_entry_for_the_index(report):
    entry = json.loads(report.with_suffix(".json").read_text())
    assert entry["experiment"] == "synthetic"
    assert entry["sentence"] == "`input_aware` reads more than the control."
    key = "`input_aware` - `control`, FVE under its own AR: 0.078 [0.060, 0.094]"
    assert entry["key"] == key
    assert not entry["checks_only"]


def test_an_experiment_without_rows_shows_its_own_sections(results: Results, tmp_path):
    bare = Results(facts=results.facts, text_metrics={})
    own = Section("Own", "Words.", (Drawing("own", "Own figure.", Figure()),))
    text = render(bare, tmp_path / "bare.md", [own])
    assert "![Own figure.](bare/own.png)" in text
    assert "## Own\n\nWords." in details(tmp_path / "bare.md")
    assert "## The arms" not in text
    assert [file.name for file in (tmp_path / "bare").iterdir()] == ["own.png"]


def test_figures_of_an_earlier_rendering_are_removed(results: Results, tmp_path):
    (tmp_path / "bare" / "results").mkdir(parents=True)
    (tmp_path / "bare" / "stale.png").touch()
    (tmp_path / "bare" / "results" / "rows.parquet").touch()
    render(Results(facts=results.facts, text_metrics={}), tmp_path / "bare.md")
    assert not (tmp_path / "bare" / "stale.png").exists()
    assert (tmp_path / "bare" / "results" / "rows.parquet").exists()


def test_unequal_tuning_and_few_seeds_are_told(results: Results, tmp_path):
    fewer = results.trials.filter((pl.col("arm") != "small") | (pl.col("number") < 3))
    rows = results.rows.filter((pl.col("arm") != "small") | (pl.col("seed") == 0))
    text = render(results._replace(trials=fewer, rows=rows), tmp_path / "report.md")
    assert "Tuning: 3 to 4 trials an arm." in text
    assert "`small` has one pair" in text
    assert "tuning budgets of the arms differ" in details(tmp_path / "report.md")


def test_a_name_that_the_template_lacks_is_an_error():
    with pytest.raises(Exception, match="'questions' is undefined"):
        fill_template("index.md.j2")
