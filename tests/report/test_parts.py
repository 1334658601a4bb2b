import polars as pl

from common.report.cost_parts import cost_part
from common.report.damaged import prefix_table, survival_table, swap_table
from common.report.fve import UNDEFINED
from common.report.markdown import ABSENT
from common.report.parts import (
    arm_parts,
    arm_remarks,
    prefix_part,
    survival_part,
    swap_part,
    text_part,
)
from common.report.results import Results
from common.report.tables import arm_table


def test_retrieval_is_told_with_its_chance(results: Results):
    """Of eight candidates: 1/8, and the mean of 1/1 to 1/8."""
    tables = {"av": arm_table(results, "av")}
    (said,) = arm_remarks(results, tables)
    assert said.startswith("top-1 and MRR: the own activation among 7 distractors, which share its")
    assert said.endswith("; chance is 0.125 and 0.340.")
    facts = {name: fact for name, fact in results.facts.items() if name != "distractors"}
    assert arm_remarks(results._replace(facts=facts), tables) == []


def test_a_reference_row_that_repeats_is_left_out(results: Results):
    tables = {name: arm_table(results, "av") for name in ("av", "av_neutral_ar")}
    first, second = arm_parts(results, tables)
    assert first.table.count("*floor*") == 5
    assert "own_blocks_last" not in first.table, "a curve of its own"
    assert second.table.count("*floor*") == 0


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
    part = survival_part(results, "teacher", [row, undefined])
    assert part.sentences[-1].endswith(": `paraphrase` of `control`.")
    assert part.table.splitlines()[-1].endswith(f"| {ABSENT} |")


def test_what_hardly_ever_applied_is_counted_and_left_out(results: Results):
    rare, *rest = survival_table(results, "teacher")
    rare = rare._replace(coverage=0.011, fve=UNDEFINED._replace(estimate=0.1), share=UNDEFINED)
    part = survival_part(results, "teacher", [rare, *rest])
    assert "| `control` | `quotes_only` |" not in part.table
    said = "Left out, of fewer than 20 documents: `quotes_only` of `control` (2 %)."
    assert part.sentences[-1] == said


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
    assert prefix_part("av", [row for row in rows if row.tokens < 32]).sentences == ()


def test_what_is_zero_everywhere_takes_one_sentence(results: Results):
    metrics = {name: found | {"empty": 0.0} for name, found in results.text_metrics.items()}
    part = text_part(results._replace(text_metrics=metrics))
    assert part
    assert "empty" not in part.table
    assert part.sentences == ("Zero everywhere: empty texts.",)
    assert text_part(results._replace(text_metrics={})) is None


def test_what_costs_the_same_takes_one_sentence(results: Results):
    part = cost_part(results)
    assert part
    assert "| `small` | 20,000,000 | 19,999,000 | 101 | 0.585 |" in part.table
    assert part.sentences[0].startswith("The same for all: runs 3, training tokens 150,000,")


def test_runs_need_no_more_than_an_arm_and_a_seed(results: Results):
    part = cost_part(results._replace(runs=results.runs.select("arm", "seed")))
    assert part
    assert part.sentences == ("The same for all: runs 3.",)


def test_a_swap_is_told_with_its_share_and_how_many_it_is_of(results: Results):
    rows = swap_table(results, "teacher")
    part = swap_part("teacher", rows)
    titles, _, control, *_ = part.table.splitlines()
    assert titles == "| arm | the last quoted word | all but the quote |"
    assert control.count(" %") == 2
    said = "Explanations that have it: the last quoted word 91 %, all but the quote 100 %."
    assert part.sentences == (said,)
    apart = swap_part("teacher", [rows[0]._replace(coverage=0.5), *rows[1:]])
    assert len(apart.sentences) == len(results.arms)
    never = rows[0]._replace(coverage=0.0, loss=UNDEFINED, share=None)
    assert swap_part("teacher", [never]).table == ""
