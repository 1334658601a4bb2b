"""Sections of a report on what each arm's own AV wrote: its form, its use, the best of several."""

from math import isnan

import polars as pl

from common.metrics.statistics import ratio_difference
from common.report.decisions import NOT_MEASURED
from common.report.markdown import bounds, code, table
from common.report.paired import mean_interval, measures_by_arm
from common.report.results import Results
from common.report.section import Section
from common.report.tables import FEWEST_DOCUMENTS, UNDEFINED
from common.schema import DOC_ID, KEY

SHOWN = {
    "tokens": "tokens",
    "quote_share": "share in quotation marks",
    "verbatim_4gram_share": "verbatim 4-grams",
}


def spoken_sections(results: Results) -> list[Section]:
    """The texts in numbers, the splice, and the best of n; [] where nothing was measured."""
    if not results.measures.height:
        return []
    texts = (
        "Means over test explanations, 95 % intervals by document; seeds are averaged first.\n\n"
        + table([_text_row(results, arm) for arm in results.arms])
    )
    splice = (
        "KL (nats) from the target's untouched next-token distribution to that with the"
        " reconstruction in the activation's place. *Recovered* is 1 - KL / KL of the mean"
        " direction.\n\n" + table([_splice_row(results, arm) for arm in results.arms])
    )
    asked = results.measures.filter(measure="best_of_1")[KEY].n_unique()
    best = (
        f"On {asked} test activations: FVE of the best of n sampled explanations, chosen and read"
        " by the arm's own AR, which sees the true activation when it chooses: an upper bound of"
        " what picking can give. Divided by the variance of all test activations: to be compared"
        " along a row, not with other tables.\n\n"
        + table([_best_row(results, arm) for arm in results.arms])
    )
    return [
        Section("What the explanations look like", texts),
        Section("In the target's place", splice),
        Section("Best of n", best),
    ]


def _text_row(results: Results, arm: str) -> dict[str, str]:
    return {"arm": code(arm)} | {
        title: bounds(mean_interval(results, found[arm]))
        for measure, title in SHOWN.items()
        if arm in (found := measures_by_arm(results, measure))
    }


def _splice_row(results: Results, arm: str) -> dict[str, str]:
    own = measures_by_arm(results, "splice_kl").get(arm)
    mean = measures_by_arm(results, "splice_kl_mean_direction").get(arm)
    if own is None or mean is None:
        return {"arm": code(arm), "KL": NOT_MEASURED}
    both = own.join(mean, on=[KEY, DOC_ID], suffix="_mean", maintain_order="left")
    kept = both["value_mean"] - both["value"]
    nothing, one = 0 * both["value"], 1 + 0 * both["value"]
    recovered = UNDEFINED
    if both[DOC_ID].n_unique() > 1:
        columns = (kept, both["value_mean"], nothing, one)
        recovered = ratio_difference(*columns, both[DOC_ID], results.facts["resamples"])
        if both[DOC_ID].n_unique() < FEWEST_DOCUMENTS and not isnan(recovered.estimate):
            recovered = UNDEFINED._replace(estimate=recovered.estimate)
    return {
        "arm": code(arm),
        "KL": bounds(mean_interval(results, own)),
        "KL of the mean direction": bounds(mean_interval(results, mean)),
        "recovered": bounds(recovered),
    }


def _best_row(results: Results, arm: str) -> dict[str, str]:
    names = sorted(
        {name for name in results.measures["measure"].unique() if name.startswith("best_of_")},
        key=lambda name: int(name.removeprefix("best_of_")),
    )
    variance, cells = results.facts["variance"], {"arm": code(arm)}
    for name in names:
        if (rows := measures_by_arm(results, name).get(arm)) is not None:
            explained = rows.with_columns(value=1 - pl.col("value") / variance)
            cells[f"n = {name.removeprefix('best_of_')}"] = bounds(
                mean_interval(results, explained)
            )
    return cells
