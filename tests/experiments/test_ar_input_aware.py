"""The decision rule and the sections of ar_input_aware on results made by hand."""

import polars as pl
import pytest

from common.report.markdown import label
from common.report.results import Results
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN
from common.schema import AV, TEACHER
from experiments.ar_input_aware.findings import sections
from experiments.ar_input_aware.rule import RULE
from tests.experiments.made import Errors, error_columns, results_of, statuses

ARMS = ("control", "given_4", "last_16", "last_16_alone")
ADDS, OBSOLETE = "AV text adds to the view", "The view makes AV text obsolete"
OTHERS = "AV text of another document does not help"
KNOWS = "The AR knows its view as well as closed forms"
FAIR = "The shared AR is a fair denominator"
USUAL = {
    "view_read": 0.5,
    "view_known": 0.5,
    "view_closed": 0.5,
    "view_gain": 0.0,
    "conditional_av": 0.1,
    "conditional_teacher": 0.3,
    "conditional_av_swapped": -0.2,
    "conditional_teacher_swapped": -0.4,
    "conditional_av_elsewhere": 0.01,
    "words_alone_av": 0.1,
}
ALONE = ("view_read", "view_known", "view_closed", "view_gain")


def results(noise: float = 0.001, **changed: dict[str, float]) -> Results:
    """The usual measures, but for those of some arms: {arm: {measure: value}}."""

    def values(arm: str, seed: int, wiggle: float) -> tuple[Errors, dict[str, float]]:
        errors = {(source, "original"): (0.8 + wiggle, 0.8 + wiggle) for source in (AV, TEACHER)}
        if arm == "control":
            return errors, {}
        own = USUAL | changed.get(arm, {})
        known = {name: own[name] for name in (ALONE if arm.endswith("alone") else own)}
        found = {name: value + wiggle for name, value in known.items()}
        return ({} if arm.endswith("alone") else errors), found

    return results_of("ar_input_aware", ARMS, values, noise, 200)


def test_words_that_fill_some_of_what_is_left_open_add_to_the_view():
    found = RULE.judge(results(last_16={"conditional_av": 0.01}))
    assert statuses(found, ADDS) == {"given_4": SHOWN, "last_16": OTHER_WAY}
    assert statuses(found, OBSOLETE) == {"given_4": OTHER_WAY, "last_16": SHOWN}
    assert (
        "AV text tells more than the AR knows from its view where it sees `given_4`"
        in found.sentence
    )
    assert "beside `last_16` AV text is obsolete" in found.sentence
    assert found.key
    assert found.key.clause == ADDS


def test_words_that_may_add_little_or_something_are_not_told():
    found = RULE.judge(results(noise=0.05, last_16={"conditional_av": 0.03}))
    assert statuses(found, ADDS)["last_16"] == NOT_SHOWN
    assert statuses(found, OBSOLETE)["last_16"] == NOT_SHOWN


def test_nothing_is_shown_where_words_of_another_document_help():
    found = RULE.judge(results(given_4={"conditional_av_swapped": 0.02}))
    assert statuses(found, OTHERS) == {"given_4": OTHER_WAY, "last_16": SHOWN}
    assert statuses(found, ADDS) == {"given_4": NOT_SHOWN, "last_16": SHOWN}


def test_an_ar_that_does_not_use_words_makes_none_obsolete():
    silent = {"conditional_av": 0.0, "conditional_teacher": 0.0}
    found = RULE.judge(results(last_16=silent))
    assert statuses(found, OBSOLETE)["last_16"] == NOT_SHOWN


def test_an_ar_that_knows_less_than_the_closed_form_of_its_view_is_named():
    found = RULE.judge(results(last_16={"view_gain": -0.05}))
    assert statuses(found, KNOWS)["last_16"] == OTHER_WAY
    assert statuses(found, KNOWS)["given_4"] == SHOWN
    assert statuses(found, ADDS) == {"given_4": SHOWN, "last_16": NOT_SHOWN}


@pytest.mark.parametrize(("alone", "status"), [(0.505, SHOWN), (0.55, OTHER_WAY)])
def test_an_ar_for_the_view_alone_must_not_know_it_better(alone: float, status: str):
    found = RULE.judge(results(last_16_alone={"view_read": alone}))
    assert statuses(found, FAIR) == {"last_16": status}


def test_without_conditional_fve_nothing_is_measured():
    """As beside a view that explains nearly everything."""
    found = results()
    kept = ~pl.col("measure").str.starts_with("conditional") | (pl.col("arm") != "last_16")
    judged = RULE.judge(found._replace(measures=found.measures.filter(kept)))
    assert statuses(judged, ADDS) == {"given_4": SHOWN, "last_16": NOT_MEASURED}


def with_windows(found: Results) -> Results:
    """Where the words of the control's texts stand."""
    rows = found.measures.filter(arm="given_4", measure="conditional_av")
    frames = [
        rows.with_columns(
            arm=pl.lit("control"), measure=pl.lit(f"{name}_{writer}_{width}"), value=pl.lit(value)
        )
        for name, value in (("visible", 0.2), ("hidden", 0.1), ("adds_next", 0.3))
        for writer in (AV, TEACHER)
        for width in (1, 4)
    ]
    return found._replace(measures=pl.concat([found.measures, *frames]))


def whole() -> Results:
    """With the reference that sees the whole input, texts, and measures of windows."""
    found = with_windows(results())
    reference = [
        {"arm": "own_blocks", "seed": 0, "key": f"{document}:16", "doc_id": str(document)}
        | {"source": source, "transform": "original", "applied": True, "cosine": 1.0}
        | error_columns(0.001, 0.001)
        for document in range(25)
        for source in (AV, TEACHER)
    ]
    rows = pl.concat([found.rows, pl.DataFrame(reference, schema=found.rows.schema)])
    texts = pl.DataFrame(
        {"key": ["0:16", "1:16"], "source_text": ["A river.", "A sea."]}
        | {TEACHER: ["On rivers.", "On seas."], AV: ["Topic rivers.", "Topic seas."]}
    )
    facts = found.facts | {"floors": ["own_blocks"], "d_model": 100}
    return found._replace(rows=rows, texts=texts, facts=facts)


def test_the_sections_tell_views_words_windows_and_explanations():
    found = {one.title: one for one in sections(whole())}
    axis = found["What words add to a view"]
    assert "| `given_4` | 0.100" in axis.markdown
    assert "| `control` | 0.200" in axis.markdown, "its FVE at the best length"
    assert "| 8 |" in axis.markdown, "-50 log2(0.9) bits"
    (panel, *_) = axis.drawings[0].figure.axes
    assert label("own_blocks") in {line.get_label() for line in panel.lines}
    assert "0.200 [" in found["What the explanations repeat of the input"].markdown
    assert "kind of next token" in found["Beyond the view"].markdown
    ten = found["Ten explanations under each view"].markdown
    assert "Topic rivers." in ten
    assert "`last_16`" in ten
    assert "last_16_alone" not in ten


def test_without_measures_there_are_no_sections():
    found = results()
    assert sections(found._replace(measures=found.measures.head(0))) == []
