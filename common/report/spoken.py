"""Sections of a report on each arm's own texts: their form, their use, the best of several."""

from math import isnan

import polars as pl

from common.metrics.statistics import Interval, ratio_difference
from common.report.content import content_sections
from common.report.fve import FEWEST_DOCUMENTS, UNDEFINED
from common.report.markdown import bounds, code, fixed, label, table
from common.report.paired import CLUSTER, mean_interval, measures_by_arm
from common.report.results import Results
from common.report.section import Drawing, Section
from common.report.verdict import NOT_MEASURED
from common.schema import KEY

FORM = (
    "tokens",
    "quote_share",
    "unpaired_marks",
    "longest_run",
    "names_last",
    "names_last_excess",
    "invented",
)
"""Measures of the texts that stand in one table."""
SUFFIX, EXCESS = "suffix_", "suffix_excess_"
"""What precedes the number of words in the names of measures."""
COPIED_WORDS = {1: "last word", 2: "last two words", 3: "last three words", 4: "last four words"}
OF_TEXTS = (*FORM, *(f"{start}{k}" for start in (SUFFIX, EXCESS) for k in COPIED_WORDS))
BEST = "best_of_"
"""What precedes n in the names of measures."""


def spoken_sections(results: Results) -> list[Section]:
    """Sections on the texts in numbers, the splice, and the best of n, if they were measured."""
    known = {*results.measures["measure"].unique()}
    texts = (
        "Means over test explanations, 95 % intervals by document; seeds are averaged first. The"
        " longest run is one of consecutive words of the source text anywhere in the explanation,"
        " in words; a quoted word is invented if it stands in a quotation that is not in the source"
        " and is no next token.\n\n" + table([_text_row(results, arm) for arm in results.arms])
    )
    copied = (
        "Share of explanations whose quote ends in the true last words of the source text and,"
        " after the semicolon, how much more often it does so than that of another document's"
        " explanation.\n\n" + table([_copied_row(results, arm) for arm in results.arms])
    )
    splice = (
        "KL (nats) from the target's untouched next-token distribution to that with the"
        " reconstruction in the activation's place. *Recovered* is 1 - KL / KL of the mean"
        " direction.\n\n" + table([_splice_row(results, arm) for arm in results.arms])
    )
    looks = [Section("What the explanations look like", texts)] if known & {*FORM} else []
    looks += [Section("Copied words", copied)] if f"{SUFFIX}1" in known else []
    placed = [Section("In the target's place", splice)] if "splice_kl" in known else []
    sampled = [_sampled_section(results)] if f"{BEST}1" in known else []
    return [*looks, *content_sections(results), *placed, *sampled]


def _sampled_section(results: Results) -> Section:
    """The best of n, as a table and as curves, and the KL of the AV to the AV before training."""
    from common.report.spoken_figures import lines_figure  # heavy, and every run imports this file

    asked = results.measures.filter(measure="best_of_1")[KEY].n_unique()
    curves = {arm: best for arm in results.arms if (best := _best_of(results, arm))}
    rows = [
        {"arm": code(arm), "KL": bounds(_gone(results, arm))}
        | {f"n = {count}": bounds(fve) for count, fve in best}
        for arm, best in curves.items()
    ]
    text = (
        f"Explanations of {asked} test activations, sampled at the profile's `rl.temperature` in"
        " every arm. *KL* is that of the AV from the AV before reinforcement, both at this"
        " temperature, in nats per token. *n* is the FVE of the best of the"
        " first n, chosen and read by the arm's own AR, which sees the true activation when it"
        " chooses: an upper bound of what picking can give. It is divided by the variance of all"
        " test activations: to be compared along a row, not with other tables.\n\n" + table(rows)
    )
    figure = lines_figure(curves, "best of n", "FVE (share of variance)", results.arms)
    caption = "FVE of the best of n sampled explanations, chosen by the arm's own AR."
    return Section(
        "Several explanations of one activation",
        text,
        (Drawing("best_of", caption, figure, on_page=False),),
    )


def _text_row(results: Results, arm: str) -> dict[str, str]:
    return {"arm": code(arm)} | {
        label(measure): bounds(mean_interval(results, found[arm]))
        for measure in FORM
        if arm in (found := measures_by_arm(results, measure))
    }


def _copied_row(results: Results, arm: str) -> dict[str, str]:
    cells = {"arm": code(arm)}
    for k, words in COPIED_WORDS.items():
        own, excess = (
            measures_by_arm(results, f"{start}{k}").get(arm) for start in (SUFFIX, EXCESS)
        )
        if own is not None and excess is not None:
            more = fixed(mean_interval(results, excess).estimate)
            cells[words] = f"{bounds(mean_interval(results, own))}; {more}"
    return cells


def _splice_row(results: Results, arm: str) -> dict[str, str]:
    own = measures_by_arm(results, "splice_kl").get(arm)
    mean = measures_by_arm(results, "splice_kl_mean_direction").get(arm)
    if own is None or mean is None:
        return {"arm": code(arm), "KL": NOT_MEASURED}
    both = own.join(mean, on=[KEY, CLUSTER], suffix="_mean", maintain_order="left")
    kept = both["value_mean"] - both["value"]
    nothing, one = 0 * both["value"], 1 + 0 * both["value"]
    recovered = UNDEFINED
    if both[CLUSTER].n_unique() > 1:
        columns = (kept, both["value_mean"], nothing, one)
        recovered = ratio_difference(*columns, both[CLUSTER], results.facts["resamples"])
        if both[CLUSTER].n_unique() < FEWEST_DOCUMENTS and not isnan(recovered.estimate):
            recovered = UNDEFINED._replace(estimate=recovered.estimate)
    return {
        "arm": code(arm),
        "KL": bounds(mean_interval(results, own)),
        "KL of the mean direction": bounds(mean_interval(results, mean)),
        "recovered": bounds(recovered),
    }


def _gone(results: Results, arm: str) -> Interval | None:
    found = measures_by_arm(results, "sampled_kl").get(arm)
    return None if found is None else mean_interval(results, found)


def _best_of(results: Results, arm: str) -> list[tuple[int, Interval]]:
    """(n, FVE of the best of the first n), in the order of n."""
    named = {
        int(name.removeprefix(BEST)): measures_by_arm(results, name).get(arm)
        for name in results.measures["measure"].unique()
        if name.startswith(BEST)
    }
    variance = results.facts["variance"]
    return [
        (count, mean_interval(results, rows.with_columns(value=1 - pl.col("value") / variance)))
        for count, rows in sorted(named.items())
        if rows is not None
    ]
