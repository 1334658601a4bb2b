import polars as pl

from common.report.examples import examples, marked
from common.report.markdown import ABSENT
from common.report.results import CONTROL, Results


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| {start}")]


def test_texts_of_an_arm_stand_with_the_cosine_of_its_own_ar_in_that_seed(results: Results):
    own = results._replace(texts=results.texts.rename({"av": CONTROL}))
    text = examples(own, 0, 4, every_cosine=True)
    key = results.texts["key"][0]
    row = results.rows.filter(
        pl.col("applied"), arm=CONTROL, source="av", transform="original", seed=0, key=key
    )
    assert lines(text, CONTROL)[0].endswith(f"| {row['cosine'].item():.3f} |")
    taught = lines(text, "teacher")
    assert len(taught) == 2
    assert all(f"`{arm}`" in taught[1] for arm in results.arms), "every arm reads the teacher"


def test_the_page_shows_the_cosine_of_the_control(results: Results):
    text = examples(results, 1, 4)
    assert len(lines(text, "**source**")) == 1
    key = results.texts["key"][1]
    rows = results.rows.filter(arm=CONTROL, source="teacher", transform="original", key=key)
    assert lines(text, "teacher")[0].endswith(f"| {rows['cosine'].mean():.3f} |")
    assert examples(results, 0, 0) == ""


def test_what_is_quoted_word_for_word_is_bold():
    source = "rules | norms that bind (all of us) and a  long tail"
    assert marked('Ends "norms that"; next "are".', source) == 'Ends "**norms that**"; next "are".'
    assert marked('On "rules | norms".', source) == r'On "**rules \| norms**".'
    assert marked('On "(all of us)"s.', source) == 'On "**(all of us)**"s.'
    assert marked('On " a long " and "a   long tail".', source) == (
        'On " **a long** " and "**a long tail**".'
    )
    assert marked('"norms" alone, "norms which".', source) == '"norms" alone, "norms which".'
    assert marked(None, source) == ABSENT
