"""The decision rule of `baseline`, applied to collected results, and what only its report shows."""

from math import isnan

import polars as pl

from common.metrics.statistics import Interval, clustered_bootstrap, ratio_difference
from common.report.decisions import NOT_MEASURED, arm_rows, seed_differences, seeds_named
from common.report.markdown import bounds, code, fixed, table
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.tables import (
    FEWEST_DOCUMENTS,
    ORIGINAL,
    UNDEFINED,
    difference_of_fve,
    mean_errors,
)
from common.schema import AV, AV_NEUTRAL_AR, DOC_ID, KEY

RULE = """\
Written before the first run on a real model. All differences are paired on the same test
activations.

1. *Reinforcement learning works* when the round-trip FVE of `control`, each AV's own text read by
   its own AR, is above that of `warm_start`: the whole 95 % interval of the difference above zero,
   and the difference above zero for every training seed.
2. *The words carry more*, not only a partner that got used to them, when clause 1 holds under the
   neutral AR, which was trained on all arms' texts alike.
3. *The AV's learning is the larger part* when `frozen_ar`, where only the AV learns, is above
   `frozen_av`, where only the AR does: the whole 95 % interval of the difference of round-trip FVE
   above zero.
4. *It learns to quote* when the share of explanation 4-grams that stand verbatim in the source
   text is larger in `control` than in `warm_start`: the whole 95 % interval of the difference above
   zero.

What does not meet a clause is reported as not shown."""
START, AV_ALONE, AR_ALONE = "warm_start", "frozen_ar", "frozen_av"
SHOWN = {
    "tokens": "tokens",
    "quote_share": "share in quotation marks",
    "verbatim_4gram_share": "verbatim 4-grams",
}


def verdict(results: Results) -> str:
    """One paragraph per clause of the decision rule; the first is what the index shows."""
    parts = [_works(results), _words(results), _who(results), _quotes(results)]
    return "\n\n".join(parts)


def sections(results: Results) -> list[Section]:
    """The texts in numbers, the splice, and the best of n."""
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
    best = (
        "FVE of the best of n sampled explanations, chosen and read by the arm's own AR, which sees"
        " the true activation when it chooses: an upper bound of what picking can give.\n\n"
        + table([_best_row(results, arm) for arm in results.arms])
    )
    return [
        Section("What the explanations look like", texts),
        Section("In the target's place", splice),
        Section("Best of n", best),
    ]


def _works(results: Results) -> str:
    """Clause 1."""
    rows = arm_rows(results, AV)
    if CONTROL not in rows or START not in rows:
        return f"Whether reinforcement learning works: {NOT_MEASURED}."
    seeds = seeds_named(len(rows[CONTROL].seeds))
    found, told = _above_start(results, AV)
    return (
        f"Reinforcement learning raises round-trip FVE, for {seeds}: {found}. It went from"
        f" {bounds(rows[START].fve)} to {bounds(rows[CONTROL].fve)}{told}."
    )


def _words(results: Results) -> str:
    """Clause 2."""
    rows = arm_rows(results, AV_NEUTRAL_AR)
    if CONTROL not in rows or START not in rows:
        return f"Whether the words carry more under a neutral AR: {NOT_MEASURED}."
    found, told = _above_start(results, AV_NEUTRAL_AR)
    return (
        f"The words carry more under a neutral AR: {found}. It reads {bounds(rows[START].fve)}"
        f" before and {bounds(rows[CONTROL].fve)} after{told}."
    )


def _above_start(results: Results, source: str) -> tuple[str, str]:
    """`shown` or not, and the numbers, of control minus warm start."""
    errors = mean_errors(results, source)
    gain = difference_of_fve(results, errors[ORIGINAL, CONTROL], errors[ORIGINAL, START])
    by_seed = {seed: -gap for seed, gap in seed_differences(results, source, START).items()}
    told = f", a difference of {bounds(gain)}"
    if by_seed:
        told += f", {fixed(min(by_seed.values()))} in the worst seed"
    holds = gain.low > 0 and by_seed and min(by_seed.values()) > 0
    return "shown" if holds else "not shown", told


def _who(results: Results) -> str:
    """Clause 3."""
    errors = mean_errors(results, AV)
    if not {(ORIGINAL, arm) for arm in (AV_ALONE, AR_ALONE, START)} <= errors.keys():
        return f"Who of the two learns: {NOT_MEASURED}."
    alone = {
        arm: difference_of_fve(results, errors[ORIGINAL, arm], errors[ORIGINAL, START])
        for arm in (AV_ALONE, AR_ALONE)
    }
    between = difference_of_fve(results, errors[ORIGINAL, AV_ALONE], errors[ORIGINAL, AR_ALONE])
    found = "shown" if between.low > 0 else "not shown"
    return (
        f"The AV's learning is the larger part: {found}. The AV alone gains"
        f" {bounds(alone[AV_ALONE])}, the AR alone {bounds(alone[AR_ALONE])}, a difference of"
        f" {bounds(between)}."
    )


def _quotes(results: Results) -> str:
    """Clause 4."""
    measures = _by_key(results, "verbatim_4gram_share")
    if not {CONTROL, START} <= measures.keys():
        return f"Whether the AV learns to quote: {NOT_MEASURED}."
    pairs = measures[CONTROL].join(measures[START], on=[KEY, DOC_ID], suffix="_start")
    gain = _mean(results, pairs.with_columns(value=pl.col("value") - pl.col("value_start")))
    found = "shown" if gain.low > 0 else "not shown"
    return f"It learns to quote: {found}. The share of verbatim 4-grams changes by {bounds(gain)}."


def _by_key(results: Results, measure: str) -> dict[str, pl.DataFrame]:
    """{arm: key, doc_id and the measure averaged over seeds}."""
    means = (
        results.measures.filter(measure=measure)
        .sort("arm", KEY, "seed")
        .group_by("arm", KEY, DOC_ID, maintain_order=True)
        .agg(pl.col("value").mean())
    )
    groups = means.partition_by("arm", as_dict=True, maintain_order=True)
    return {str(arm): group for (arm,), group in groups.items()}


def _mean(results: Results, rows: pl.DataFrame) -> Interval:
    if rows[DOC_ID].n_unique() < 2:
        return UNDEFINED
    documents, resamples = rows[DOC_ID].to_list(), results.facts["resamples"]
    found = clustered_bootstrap(rows["value"].to_numpy(), documents, resamples)
    enough = rows[DOC_ID].n_unique() >= FEWEST_DOCUMENTS
    return found if enough else UNDEFINED._replace(estimate=found.estimate)


def _text_row(results: Results, arm: str) -> dict[str, str]:
    return {"arm": code(arm)} | {
        title: bounds(_mean(results, found[arm]))
        for measure, title in SHOWN.items()
        if arm in (found := _by_key(results, measure))
    }


def _splice_row(results: Results, arm: str) -> dict[str, str]:
    own = _by_key(results, "splice_kl").get(arm)
    mean = _by_key(results, "splice_kl_mean_direction").get(arm)
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
        "KL": bounds(_mean(results, own)),
        "KL of the mean direction": bounds(_mean(results, mean)),
        "recovered": bounds(recovered),
    }


def _best_row(results: Results, arm: str) -> dict[str, str]:
    names = sorted(
        {name for name in results.measures["measure"].unique() if name.startswith("best_of_")},
        key=lambda name: int(name.removeprefix("best_of_")),
    )
    variance, cells = results.facts["variance"], {"arm": code(arm)}
    for name in names:
        if (rows := _by_key(results, name).get(arm)) is not None:
            explained = rows.with_columns(value=1 - pl.col("value") / variance)
            cells[f"n = {name.removeprefix('best_of_')}"] = bounds(_mean(results, explained))
    return cells
