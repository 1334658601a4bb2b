"""Rules made by hand on measures of 30 clusters: what each kind of clause says."""

from dataclasses import replace
from math import nan

import polars as pl
import pytest

from common.errors import NlaError
from common.metrics.statistics import Interval
from common.report import decisions
from common.report.clauses import (
    GREATER,
    LESS,
    Clause,
    Contrast,
    Correction,
    Direction,
    EachArm,
    Pairs,
    Phrases,
    not_greater,
    not_less,
    within,
)
from common.report.measured import (
    Auroc,
    Fve,
    FveShare,
    GainBeyond,
    MeanOf,
    Swapped,
    SwapShare,
    Test,
)
from common.report.paired import PairedGain
from common.report.results import MEASURES_SCHEMA, Results
from common.report.rule import Rule, load_rule
from common.report.verdict import NOT_MEASURED, NOT_SHOWN, OTHER_WAY, SHOWN, Verdict

LENGTH = MeanOf("length", "length")
TO_CONTROL = (Contrast("longer", "control"),)


def results(levels: dict[str, float], noise: float = 0.0, seeds: int = 1) -> Results:
    """`length` of each arm; noise goes up and down from cluster to cluster, but not in control."""
    rows = [
        {"arm": arm, "seed": seed, "key": str(item), "cluster": str(item), "measure": "length"}
        | {"value": level + noise * (item % 7 - 3) * (arm != "control")}
        for arm, level in levels.items()
        for seed in range(seeds)
        for item in range(30)
    ]
    facts = {"profile": "t", "experiment": "t", "floors": [], "resamples": 200}
    return Results(facts | {"arms": list(levels)}, {}, measures=_measures(rows))


def _measures(rows: list[dict]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=MEASURES_SCHEMA)


def judge(found: Results, *clauses: Clause, **settings) -> Verdict:
    return Rule("Is it longer?", clauses, "Written before.", **settings).judge(found)


def status(found: Results, clause: Clause) -> str:
    (row,) = judge(found, clause).findings
    return row.status


@pytest.mark.parametrize(
    ("direction", "gain", "expected"),
    [
        (GREATER, 0.5, SHOWN),
        (GREATER, 0.02, NOT_SHOWN),
        (GREATER, -0.5, OTHER_WAY),
        (LESS, -0.5, SHOWN),
        (LESS, 0.5, OTHER_WAY),
        (not_less(0.2), 0.0, SHOWN),
        (not_less(0.2), -0.15, NOT_SHOWN),
        (not_less(0.2), -0.5, OTHER_WAY),
        (not_greater(0.2), 0.0, SHOWN),
        (not_greater(0.2), 0.15, NOT_SHOWN),
        (not_greater(0.2), 0.5, OTHER_WAY),
        (within(0.2), 0.05, SHOWN),
        (within(0.2), 0.15, NOT_SHOWN),
        (within(0.2), 0.5, OTHER_WAY),
        (within(0.2), -0.5, OTHER_WAY),
    ],
)
@pytest.mark.parametrize("test", [Test.INTERVAL, Test.BOOTSTRAP, Test.SIGN_FLIP])
def test_directions(direction: Direction, gain: float, expected: str, test: Test):
    """The interval of the gain reaches about .08 on either side."""
    found = results({"control": 1.0, "longer": 1.0 + gain}, noise=0.1)
    assert status(found, Clause("c", TO_CONTROL, LENGTH, direction, test)) == expected


def test_a_p_value_speaks_of_the_margin():
    """.5 is surely above -.2 and surely not below .2."""
    found = results({"control": 1.0, "longer": 1.5}, noise=0.1)
    (row,) = judge(found, Clause("c", TO_CONTROL, LENGTH, not_less(0.2), Test.BOOTSTRAP)).findings
    assert row.p_value == pytest.approx(2 / 201)
    near = results({"control": 1.0, "longer": 0.85}, noise=0.1)
    (row,) = judge(near, Clause("c", TO_CONTROL, LENGTH, not_less(0.2), Test.BOOTSTRAP)).findings
    assert row.p_value
    assert row.p_value > 0.05


def test_an_interval_that_includes_zero_is_not_shown_whatever_its_p_value(
    monkeypatch: pytest.MonkeyPatch,
):
    sure = PairedGain(Interval(0.1, -0.01, 0.2), {0: 0.1}, 1, "control", lambda test, null: 0.001)
    monkeypatch.setattr(decisions, "gain", lambda *asked: sure)
    clause = Clause("c", TO_CONTROL, LENGTH, GREATER, Test.SIGN_FLIP, pairs=Pairs.EVERY)
    assert status(results({}), clause) == NOT_SHOWN
    above = sure._replace(difference=Interval(0.1, 0.01, 0.2))
    monkeypatch.setattr(decisions, "gain", lambda *asked: above)
    assert status(results({}), clause) == SHOWN


def test_holms_correction_counts_the_arms_that_were_measured():
    levels = {"control": 1.0, "a": 1.5, "b": 1.5, "c": 1.0}
    found = results(levels, noise=0.1)
    clause = Clause("c", EachArm(), LENGTH, GREATER, Test.SIGN_FLIP, Correction.HOLM)
    alone = replace(clause, correction=Correction.NONE)
    corrected, raw = (judge(found, one).findings for one in (clause, alone))
    assert [row.status for row in corrected] == [SHOWN, SHOWN, NOT_SHOWN]
    assert corrected[0].p_value == pytest.approx(3 * (raw[0].p_value or nan))
    named = replace(clause, contrasts=tuple(Contrast(arm, "control") for arm in ("a", "nosuch")))
    assert [row.p_value for row in judge(found, named).findings] == [raw[0].p_value, None]


@pytest.mark.parametrize(
    ("pairs", "expected"), [(Pairs.ANY, SHOWN), (Pairs.SHARED, NOT_SHOWN), (Pairs.EVERY, NOT_SHOWN)]
)
def test_pairs(pairs: Pairs, expected: str):
    found = results({"control": 1.0, "longer": 2.0}, seeds=3)
    one_against = pl.col("arm").eq("longer") & pl.col("seed").eq(2)
    rows = found.measures.with_columns(value=pl.col("value") - 1.5 * one_against)
    clause = Clause("c", TO_CONTROL, LENGTH, GREATER, pairs=pairs)
    (row,) = judge(found._replace(measures=rows), clause).findings
    assert row.status == expected
    assert row.pairs == "2 of 3"


def test_the_other_way_must_be_as_sure():
    found = results({"control": 1.0, "longer": 0.5}, noise=0.1, seeds=3)
    clause = Clause("c", TO_CONTROL, LENGTH, GREATER, Test.SIGN_FLIP, pairs=Pairs.SHARED)
    assert status(found, clause) == OTHER_WAY
    one_for = pl.col("arm").eq("longer") & pl.col("seed").eq(2)
    mixed = found.measures.with_columns(value=pl.col("value") + 0.8 * one_for)
    assert status(found._replace(measures=mixed), clause) == NOT_SHOWN
    assert status(found._replace(measures=mixed), replace(clause, pairs=Pairs.ANY)) == OTHER_WAY
    many = replace(clause, contrasts=TO_CONTROL + (Contrast("control", 1.0),) * 11)
    few = replace(many, correction=Correction.HOLM)
    assert judge(found, few).findings[0].p_value == pytest.approx(12 / 201)
    assert judge(found, few).findings[0].status == NOT_SHOWN


def test_a_fixed_order_ends_at_the_first_that_is_not_shown():
    found = results({"control": 1.0, "a": 1.0, "b": 0.5, "c": 1.0})
    order = tuple(Contrast(arm, "control") for arm in ("a", "b", "c"))
    phrases = Phrases("down to {last}", "none", "")
    clause = Clause(
        "c", order, LENGTH, not_less(0.2), correction=Correction.FIXED_ORDER, phrases=phrases
    )
    verdict = judge(found, clause)
    assert [row.status for row in verdict.findings] == [SHOWN, OTHER_WAY, NOT_SHOWN]
    assert verdict.notes == ("*c*, `c` - `control`: not shown, not tested after `b`.",)
    assert verdict.sentence == "Down to `a`."
    assert verdict.key == verdict.findings[0]


@pytest.mark.parametrize(("b", "of_c"), [(0.5, OTHER_WAY), (0.8, NOT_SHOWN)])
def test_after_one_the_other_way_the_rest_may_say_so_too(b: float, of_c: str):
    """0.8 is at the margin and shows nothing: `c` is not tested then, though it lies beyond."""
    found = results({"control": 1.0, "b": b, "c": 0.5}, noise=0.1)
    order = tuple(Contrast(arm, "control") for arm in ("b", "c"))
    clause = Clause("c", order, LENGTH, not_less(0.2), correction=Correction.FIXED_ORDER)
    assert [row.status for row in judge(found, clause).findings][1] == of_c


def test_a_conclusion_asks_for_both_of_the_same_arm():
    found = results({"control": 1.0, "a": 1.5, "b": 3.0})
    longer = Clause("longer", EachArm(), LENGTH, GREATER)
    not_too_long = Clause("not too long", EachArm(), LENGTH, not_greater(1.0))
    both = Clause("good", EachArm(0.0), requires=("longer", "not too long"))
    *_, a, b = judge(found, longer, not_too_long, both).findings
    assert (a.contrast, a.status) == ("`a`", SHOWN)
    assert (b.contrast, b.status) == ("`b`", OTHER_WAY)
    assert (a.difference, a.p_value, a.pairs) == (None, None, "")


def test_a_conclusion_lies_the_other_way_only_where_what_it_requires_does():
    found = results({"control": 1.0, "a": 1.5, "b": 0.5, "c": 1.0}, noise=0.1)
    longer, gate = (
        Clause("longer", EachArm(), LENGTH, GREATER),
        Clause("gate", EachArm(), LENGTH, LESS),
    )
    refuted = Clause("good", EachArm(0.0), requires=("longer",))
    findings = [row for row in judge(found, longer, refuted).findings if row.clause == "good"]
    assert [row.status for row in findings] == [SHOWN, OTHER_WAY, NOT_SHOWN]
    findings = judge(found, longer, gate, replace(refuted, given=("gate",))).findings
    statuses = [row.status for row in findings if row.clause == "good"]
    assert statuses == [NOT_SHOWN, OTHER_WAY, NOT_SHOWN], "b meets the gate"


def test_a_share_is_told_with_a_stroke():
    shares = Clause("keeps", (Contrast("longer", "control"),), FveShare("av"), GREATER)
    (row,) = judge(results({"control": 1.0}), shares).findings
    assert row.contrast == "`longer` / `control`"


def test_a_gate_holds_for_arms_that_it_does_not_speak_of():
    found = results({"control": 1.0, "a": 1.5})
    gate = Clause("gate", (Contrast("control", 2.0),), LENGTH, GREATER, listed=False)
    longer = Clause("longer", EachArm(), LENGTH, GREATER, requires=("gate",))
    verdict = judge(found, gate, longer)
    assert [row.status for row in verdict.findings] == [NOT_SHOWN]
    lies = "*gate* lies the other way (-1.000 [-1.000, -1.000])"
    assert verdict.notes == (f"*longer*, `a` - `control`: not shown, {lies}.",)


def test_what_is_not_given_says_nothing_either_way():
    """What is required only stops what is shown; what is given, what points the other way too."""
    found = results({"control": 1.0, "a": 1.5, "b": 0.5})
    gate = Clause("gate", EachArm(1.0), LENGTH, GREATER, listed=False)
    for needs, of_b in (({"requires": ("gate",)}, OTHER_WAY), ({"given": ("gate",)}, NOT_SHOWN)):
        longer = Clause("longer", EachArm(), LENGTH, GREATER, **needs)
        verdict = judge(found, gate, longer)
        assert [row.status for row in verdict.findings] == [SHOWN, of_b]
    lies = "*gate* lies the other way (-0.500 [-0.500, -0.500])"
    assert verdict.notes == (f"*longer*, `b` - `control`: not shown, {lies}.",)


def test_what_requires_something_that_is_not_measured_is_not_measured():
    found = results({"control": 1.0, "a": 1.5})
    gate = Clause("gate", (Contrast("nosuch"),), LENGTH, GREATER)
    longer = Clause("longer", EachArm(), LENGTH, GREATER, requires=("gate",))
    assert [row.status for row in judge(found, gate, longer).findings] == [NOT_MEASURED] * 2


def test_a_descriptive_clause_is_a_note():
    found = results({"control": 1.0, "longer": 1.5})
    verdict = judge(
        found,
        Clause("Longer", TO_CONTROL, LENGTH, GREATER),
        Clause("Length", (Contrast("control"), Contrast("longer")), LENGTH),
    )
    assert len(verdict.findings) == 1
    assert verdict.notes == (
        "*Length*: `control` 1.000 [1.000, 1.000], `longer` 1.500 [1.500, 1.500].",
    )


def test_a_rule_of_an_arm_that_is_not_there():
    found = results({"control": 1.0})
    clause = Clause("c", EachArm(), LENGTH, GREATER, phrases=Phrases("{arms} is longer", "no"))
    verdict = judge(found, clause)
    (row,) = verdict.findings
    assert (row.status, row.difference) == (NOT_MEASURED, None)
    assert verdict.sentence == "Whether any of the arms is longer was not measured."
    assert verdict.notes == ("*c*: not measured, the results hold no arm to speak of.",)


def test_results_without_fve_have_none():
    found = results({"control": 1.0, "longer": 1.5})
    for measure in (Fve("av"), Swapped("av", "swap_quote")):
        verdict = judge(found, Clause("c", TO_CONTROL, measure, GREATER))
        assert verdict.findings[0].status == NOT_MEASURED
        assert "there is no variance to measure FVE against" in verdict.notes[0]
        given = found._replace(facts=found.facts | {"variance": 1.0})
        verdict = judge(given, Clause("c", TO_CONTROL, measure, GREATER))
        assert "not measured, `av` has no `original`" in verdict.notes[0]
    for measure in (Fve("av", beyond=1), Swapped("av", "swap_quote", 1), GainBeyond("av")):
        verdict = judge(found, Clause("c", TO_CONTROL, measure, GREATER))
        said = "not measured, nothing was measured beyond the last token."
        assert verdict.notes[0].endswith(said)
    verdict = judge(found, Clause("c", TO_CONTROL, SwapShare("av", "swap_quote"), GREATER))
    assert "`av` has no `original`, `swap_quote` and `shuffled`" in verdict.notes[0]


def test_the_sentence_has_a_phrase_for_each_outcome():
    phrases = Phrases("it is longer ({arms})", "it is not longer", "it is shorter")
    clause = Clause("c", EachArm(), LENGTH, GREATER, phrases=phrases)
    for level, said in ((1.5, "It is longer (`a`)."), (1.0, "It is not longer.")):
        assert judge(results({"control": 1.0, "a": level}), clause).sentence == said
    assert judge(results({"control": 1.0, "a": 0.5}), clause).sentence == "It is shorter."
    silent = replace(clause, phrases=None)
    assert judge(results({"control": 1.0, "a": 1.5}), silent).sentence == ""


SCORERS = {"control": 0.0, "probe": 2.0, "judge": 0.4}


def labelled(labels: str = "control", same: bool = False) -> Results:
    """Items in pairs of one cluster, one of each label; scores are as good as SCORERS says."""
    rows = []
    for item in range(80):
        label = 1.0 if same else float(item % 2)
        names = {"seed": 0, "key": str(item), "cluster": str(item // 2)}
        rows.append(names | {"arm": labels, "measure": "label", "value": label})
        for arm, strength in SCORERS.items():
            wiggle = ((item * 37 + len(arm) * 11) % 80) / 20
            score = {"arm": arm, "measure": "score", "value": strength * label + wiggle}
            rows.append(names | score)
    facts = {"profile": "t", "experiment": "t", "floors": [], "resamples": 400}
    return Results(facts | {"arms": list(SCORERS)}, {}, measures=_measures(rows))


DETECTS = Clause(
    "It detects more",
    EachArm(),
    Auroc(),
    GREATER,
    Test.BOOTSTRAP,
    Correction.HOLM,
    phrases=Phrases("{arms} detects more than the control", "nothing detects more"),
)


@pytest.mark.parametrize("labels", ["control", "judge"])
def test_an_experiment_of_labels_and_scores(labels: str):
    chance = Clause("Better than chance", EachArm(0.5), Auroc(), GREATER)
    verdict = judge(labelled(labels), DETECTS, chance, items="statements", cluster="topic")
    probe, judged, *over_chance = verdict.findings
    assert verdict.sentence == "`probe` detects more than the control."
    assert (probe.status, judged.status) == (SHOWN, NOT_SHOWN)
    assert probe.measure == "AUROC of `score` for `label`"
    assert probe.p_value == pytest.approx(2 * 2 / 401)
    assert probe.difference
    assert 0.1 < probe.difference.low < probe.difference.estimate < probe.difference.high < 0.6
    assert [row.contrast for row in over_chance] == ["`probe` - 0.5", "`judge` - 0.5"]
    assert over_chance[0].status == SHOWN


def test_items_of_one_label_have_no_auroc():
    verdict = judge(labelled(same=True), DETECTS)
    assert {row.status for row in verdict.findings} == {NOT_MEASURED}
    assert "not measured, every item has one label." in verdict.notes[0]


def test_an_item_with_two_labels_is_refused():
    found = labelled()
    other = found.measures.filter(measure="label").with_columns(
        arm=pl.lit("judge"), value=1 - pl.col("value")
    )
    with pytest.raises(NlaError, match="two values of label"):
        judge(found._replace(measures=pl.concat([found.measures, other])), DETECTS)


def test_a_rule_that_cannot_be_applied_is_refused():
    clause = Clause("a", TO_CONTROL, LENGTH, GREATER)
    for broken in (
        lambda: Rule("?", (clause, clause), ""),
        lambda: Rule("?", (replace(clause, requires=("b",)),), ""),
        lambda: Rule("?", (clause,), "", key="b"),
        lambda: replace(clause, correction=Correction.HOLM),
        lambda: Clause("a", TO_CONTROL, Auroc(), GREATER, Test.SIGN_FLIP),
        lambda: Clause("a", (), LENGTH, GREATER),
        lambda: replace(clause, each_reader=True),
        lambda: Rule("?", (replace(clause, given=("b",)),), ""),
        lambda: Clause("a", TO_CONTROL),
        lambda: Rule("?", (Clause("a", TO_CONTROL, LENGTH),), ""),
    ):
        with pytest.raises(AssertionError):
            broken()


def test_an_unknown_experiment_is_refused():
    with pytest.raises(NlaError, match="nosuch"):
        load_rule("nosuch")


def test_a_reason_that_clauses_share_is_told_once():
    found = results({"control": 1.0, "longer": 1.5})
    lost = [Clause(name, (Contrast("longer", "gone"),), LENGTH, GREATER) for name in ("a", "b")]
    verdict = judge(found, *lost, Clause("alone", (Contrast("never"),), LENGTH, GREATER))
    assert verdict.notes == (
        "*alone*, `never`: not measured, there is nothing of `never`.",
        "Not measured, there is nothing of `gone`: *a* and *b*.",
    )
    no_arm = [Clause(name, EachArm(prefix="x"), LENGTH, GREATER) for name in ("a", "b", "d")]
    assert judge(found, *no_arm).notes == (
        "Not measured, the results hold no arm to speak of: *a*, *b* and *d*.",
    )
