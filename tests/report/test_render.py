import json

import polars as pl
import pytest
from matplotlib.figure import Figure

from common.report.parts import arm_part, prefix_part, survival_part
from common.report.render import fill_template, render_report
from common.report.results import Results
from common.report.section import Drawing, Section
from common.report.tables import UNDEFINED, arm_table, prefix_table, survival_table
from tests.report.golden import GOLDEN, RULE, render_synthetic
from tests.report.synthetic import synthetic_results


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    out = tmp_path_factory.mktemp("reports") / "laptop" / "report.md"
    render_synthetic(out)
    return out


def render(results: Results, out, sections=()) -> str:
    render_report(results, RULE, RULE.judge(results), sections, out)
    return out.read_text()


def test_golden_report(report):
    assert report.read_text() == GOLDEN.read_text(), (
        "the report changed; if that is meant, `python -m tests.report.golden` writes it anew"
    )


def test_rendering_again_gives_the_same_bytes(report, tmp_path):
    render_synthetic(tmp_path / "report.md")
    for name in (
        "report.md",
        "report.json",
        *(f"report/{f.name}" for f in report.parent.glob("*/*")),
    ):
        assert (tmp_path / name).read_bytes() == (report.parent / name).read_bytes()


def test_a_floor_that_is_missing_has_its_reason(tmp_path):
    results = synthetic_results()
    facts = results.facts | {"missing_floors": {"tfidf_ridge": "the texts are of one document"}}
    rows = results.rows.filter(pl.col("arm") != "tfidf_ridge")
    text = render(results._replace(facts=facts, rows=rows), tmp_path / "report.md")
    assert text.count("- No floor `tfidf_ridge`: the texts are of one document.") == 2
    assert "| `tfidf_ridge`" not in text


def test_figures_in_the_text_are_those_on_disk(report):
    names = {file.name for file in report.with_suffix("").iterdir()}
    assert names == {"fve.png", "survival.png", "prefix.png", "cost.png", "curves.png"}
    assert all(f"](report/{name})" in report.read_text() for name in names)


def test_opens_with_question_rule_and_verdict(report):
    text = report.read_text()
    places = [text.index(part) for part in ("**Question.**", "**Decision rule.**", "**Verdict.**")]
    assert places == sorted(places)
    assert places[-1] < text.index("\n## ")


def test_a_difference_that_may_be_zero_is_called_so(report):
    lines = [line for line in report.read_text().splitlines() if "minus `control` =" in line]
    assert len(lines) == 4
    for line in lines:
        assert ("°" in line) == ("includes zero" in line) == ("`small`" in line)


def test_retrieval_is_told_with_its_chance(report, results: Results):
    """Of eight candidates: 1/8, and the mean of 1/1 to 1/8."""
    said = "- top-1 and MRR: the own activation among 7 distractors, chance is 0.125 and 0.340."
    assert report.read_text().count(said) == 2
    facts = {name: fact for name, fact in results.facts.items() if name != "distractors"}
    unknown = arm_part(results._replace(facts=facts), "av", arm_table(results, "av"))
    assert not any("chance" in sentence for sentence in unknown.sentences)


def test_what_does_not_survive_is_named(results: Results):
    """Verbatim quotes stripped: the interval holds zero; all quotes: it lies below."""
    told = survival_part(results, "teacher", survival_table(results, "teacher")).sentences
    none, worse = (sentence.partition(": ")[2] for sentence in told[-2:])
    arms = ", ".join(f"`{arm}`" for arm in results.arms)
    assert none == f"`quotes_stripped` of {arms}; `verbatim_stripped` of {arms}."
    assert worse == f"`quotes_stripped` of {arms}."


def test_a_share_without_interval_is_not_shown_to_survive(results: Results):
    row = survival_table(results, "teacher", ["paraphrase"])[0]
    undefined = row._replace(share=UNDEFINED)
    *_, last = survival_part(results, "teacher", [row, undefined]).sentences
    assert last.endswith(": `paraphrase` of `control`.")


def test_both_pairs_of_quotes_are_told_where_present(results: Results):
    lines = survival_part(results, "av", survival_table(results, "av")).sentences
    for pair in ("`verbatim_stripped` minus `verbatim_random", "`quotes_stripped` minus `random"):
        assert sum(pair in line for line in lines) == len(results.arms)
    old = results.rows.filter(~pl.col("transform").str.starts_with("verbatim"))
    older = results._replace(rows=old)
    lines = survival_part(older, "av", survival_table(older, "av")).sentences
    assert not any("verbatim" in line for line in lines)


def test_prefixes_tell_how_many_explanations_are_so_long(results: Results):
    part = prefix_part("av", prefix_table(results, "av"))
    told = "100 % (k = 4), 100 % (k = 8), 100 % (k = 16), 83 % (k = 32)"
    assert part.sentences == (f"Explanations that have so many tokens: {told}.",)
    rows = prefix_table(results, "av")
    differing = prefix_part("av", [rows[0]._replace(coverage=0.5), *rows[1:]])
    assert len(differing.sentences) == len(results.arms)
    assert differing.sentences[0].startswith("Explanations that have so many tokens, `control`: 50")


def test_entry_for_the_index(report):
    entry = json.loads(report.with_suffix(".json").read_text())
    assert entry["experiment"] == "synthetic"
    assert entry["verdict"] == "`input_aware` reads more than the control."


def test_an_experiment_without_rows_shows_its_own_sections(results: Results, tmp_path):
    bare = Results(facts=results.facts, text_metrics={})
    own = Section("Own", "Words.", (Drawing("own", "Own figure.", Figure()),))
    text = render(bare, tmp_path / "bare.md", [own])
    assert "## Own\n\nWords.\n\n![Own figure.](bare/own.png)" in text
    assert "## FVE" not in text
    assert [file.name for file in (tmp_path / "bare").iterdir()] == ["own.png"]


def test_figures_of_an_earlier_rendering_are_removed(results: Results, tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "stale.png").touch()
    render(Results(facts=results.facts, text_metrics={}), tmp_path / "bare.md")
    assert not (tmp_path / "bare" / "stale.png").exists()


def test_unequal_tuning_and_few_seeds_are_told(results: Results, tmp_path):
    fewer = results.trials.filter((pl.col("arm") != "small") | (pl.col("number") < 3))
    rows = results.rows.filter((pl.col("arm") != "small") | (pl.col("seed") == 0))
    text = render(results._replace(trials=fewer, rows=rows), tmp_path / "report.md")
    assert "tuning budgets of the arms differ" in text
    assert "Fewer than 3 training seeds: `small`." in text


def test_a_name_that_the_template_lacks_is_an_error():
    with pytest.raises(Exception, match="'table' is undefined"):
        fill_template("index.md.j2")
