"""Notes on arms that a reference beats: 1.0 and 1.4 of a variance of 2 are FVE .5 and .3."""

import polars as pl

from common.report.results import Results
from common.report.undertrained import training_notes
from common.schema import AV, AV_NEUTRAL_AR, TEACHER
from tests.report.test_comparing import of, results


def found(reference: str, error: float, source: str = AV, **arms: float) -> Results:
    levels = of(reference, error, error - 0.1, 0.5, 0.4, source=source)
    for arm, level in arms.items():
        levels |= of(arm, level, level - 0.1, 0.5, 0.4, source=source)
    return results(levels, floors=(reference,))


def test_no_reference_above_an_arm_is_no_note():
    assert training_notes(found("look_up", 1.5, control=1.0, other=1.4), [AV]) == []
    assert training_notes(found("tfidf_ridge", 1.0, control=1.0), [AV]) == []
    assert training_notes(found("mean_direction", 0.5, control=1.0), [AV]) == []


def test_one_arm():
    told = training_notes(found("look_up", 1.2, control=1.0, other=1.4), [AV])
    assert told == [
        "On the AV's explanations, `look_up`, which is fitted in closed form, has more FVE than"
        " `other` (-0.100 [-0.100, -0.100]): this AR is **not trained well enough**, so it is not"
        " shown to be too small."
    ]


def test_several_arms_and_sources():
    taught = found("look_up", 0.8, TEACHER, control=1.0, other=1.4)
    (told,) = training_notes(taught, [TEACHER])
    both = "`control` (-0.100 [-0.100, -0.100]) and `other` (-0.300 [-0.300, -0.300])"
    assert told.startswith("On the teacher's explanations, `look_up`")
    assert f"has more FVE than {both}: these ARs are **not trained well enough**" in told
    assert told.endswith("so they are not shown to be too small.")


def test_an_ar_without_parameters_to_train_is_not_blamed_for_its_training():
    found_in = found("look_up", 1.2, control=1.0, other=1.4)
    runs = pl.DataFrame({"arm": ["control", "other"], "trainable_parameters": [9, 0]})
    (told,) = training_notes(found_in._replace(runs=runs), [AV])
    assert "`other` (-0.100 [-0.100, -0.100]): this AR is fitted too" in told
    assert "trained" not in told


def test_answers_are_compared_at_their_best_length():
    """A closed-form answer may lose by being rescaled only."""
    levels = of("look_up", 1.5, 0.9, 0.5, 0.4) | of("control", 1.2, 1.2, 0.5, 0.4)
    (told,) = training_notes(results(levels, floors=("look_up",)), [AV])
    assert "`control` (-0.150 [" in told
    bare = results(levels, floors=("look_up",), variances={})
    assert training_notes(bare, [AV]) == []


def test_the_worst_of_several_references_is_told():
    levels = of("look_up", 1.0, 1.0, 0.5, 0.4) | of("tfidf_ridge", 1.1, 1.1, 0.5, 0.4)
    levels |= of("control", 1.3, 1.3, 0.5, 0.4)
    (told,) = training_notes(results(levels, floors=("look_up", "tfidf_ridge")), [AV])
    assert "`look_up`" in told


def test_references_read_the_texts_of_the_control_where_each_arm_has_its_own():
    levels = of("look_up", 1.0, 1.0, 0.5, 0.4, source=AV)
    levels |= of("look_up", 1.0, 1.0, 0.5, 0.4, source=AV_NEUTRAL_AR)
    for arm in ("control", "other"):
        levels |= of(arm, 0.8, 0.8, 0.5, 0.4) if arm == "control" else of(arm, 1.4, 1.4, 0.5, 0.4)
        levels |= of(arm, 1.4, 1.4, 0.5, 0.4, source=AV_NEUTRAL_AR)
    (told,) = training_notes(results(levels, floors=("look_up",)), [AV, AV_NEUTRAL_AR])
    assert told == (
        "On the explanations of `control` (-0.200 [-0.200, -0.200]), `look_up`, which is fitted in"
        " closed form, has more FVE than the neutral ARs: these are **not trained well enough**,"
        " and understate what every arm says."
    )


def test_words_that_tell_less_than_the_last_token():
    told = training_notes(found("last_token", 1.2, control=1.0, other=1.4), [AV])
    assert told == [
        "`last_token`, which knows the true last token and nothing else, has more FVE than `other`:"
        " what is read from its words is less than this one token tells."
    ]
    (both,) = training_notes(found("last_token", 0.5, control=1.0, other=1.4), [AV])
    assert "more FVE than `control` and `other`: what is read from their words is less" in both


def test_too_few_documents_say_nothing():
    few = found("look_up", 1.2, other=1.4, control=1.0)
    few = few._replace(rows=few.rows.filter(few.rows["doc_id"].cast(int) < 5))
    assert training_notes(few, [AV]) == []


def test_an_av_that_says_less_than_a_text_that_is_looked_up():
    levels: dict = {}
    for source, errors in ((AV, (1.0, 2.0, 0.8)), (AV_NEUTRAL_AR, (1.0, 1.2, 0.8))):
        for arm, error in zip(("nearest_text", "control", "other"), errors, strict=True):
            levels |= of(arm, error, error, 0.5, 0.4, source=source)
    (told,) = training_notes(results(levels, floors=("nearest_text",)), [AV])
    assert told.startswith("The neutral ARs read more in `nearest_text`, the teacher's text of the")
    assert "than in that AV's own texts: `control`. As a writer it is" in told
    alike = {place: value for place, value in levels.items() if AV_NEUTRAL_AR not in place}
    assert training_notes(results(alike, floors=("nearest_text",)), [AV]) == [], "texts are shared"


def test_what_an_arms_own_ar_reads_says_nothing_of_its_av():
    """The look-up is read by the control's AR, which may be a better one."""
    levels: dict = {}
    for source, error in ((AV, 2.0), (AV_NEUTRAL_AR, 0.9)):
        for arm in ("control", "other"):
            levels |= of(arm, error, error, 0.5, 0.4, source=source)
        levels |= of("nearest_text", 1.0, 1.0, 0.5, 0.4, source=source)
    assert training_notes(results(levels, floors=("nearest_text",)), [AV]) == []
