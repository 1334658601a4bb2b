"""The decision rule of `baseline`, applied to collected results, and what only its report shows."""

from math import isnan
from typing import NamedTuple

import polars as pl

from common.metrics.statistics import Interval, clustered_bootstrap, ratio_difference
from common.report.decisions import NOT_MEASURED, arm_rows, seeds_named
from common.report.markdown import bounds, code, fixed, table
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.tables import (
    FEWEST_DOCUMENTS,
    ORIGINAL,
    UNDEFINED,
)
from common.schema import AV, AV_NEUTRAL_AR, DOC_ID, KEY

RULE = """\
Written before the first run on a real model. All differences are paired on the same test
activations. *Above* means: the whole 95 % interval of the difference above zero, and the difference
above zero for every training seed.

1. *The round trip improves* when the FVE of `control`, each AV's own text read by its own AR, is
   above that of `warm_start`. *Learning to speak is part of it* when it is above that of
   `frozen_av` too, where the AR learns alone.
2. *The words carry more*, not only a partner that got used to them, when `control` is above
   `warm_start` under the neutral AR, which was trained on as much text of each arm.
3. *The AV's learning is the larger part* when `frozen_ar`, where only the AV learns, is above
   `warm_start` and above `frozen_av`.
4. *It learns to quote* when the share of explanation 4-grams that stand verbatim in the source
   text is above that of `warm_start` in `control`.

What does not meet a clause is reported as not shown. A run that was stopped early because it had
collapsed counts as it is, and is named."""
START, AV_ALONE, AR_ALONE = "warm_start", "frozen_ar", "frozen_av"
SHOWN = {
    "tokens": "tokens",
    "quote_share": "share in quotation marks",
    "verbatim_4gram_share": "verbatim 4-grams",
}


def verdict(results: Results) -> str:
    """One paragraph per clause of the decision rule; the first is what the index shows."""
    parts = [_works(results), _words(results), _who(results), _quotes(results)]
    stopped = results.facts.get("stopped_early", {})
    parts += [f"{code(run)} was stopped early: {reason}." for run, reason in stopped.items()]
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
    asked = results.measures.filter(measure="best_of_1")[KEY].n_unique()
    best = (
        f"On {asked} test activations: FVE of the best of n sampled explanations, chosen and read"
        " by the arm's own AR, which sees the true activation when it chooses: an upper bound of"
        " what picking can give.\n\n" + table([_best_row(results, arm) for arm in results.arms])
    )
    return [
        Section("What the explanations look like", texts),
        Section("In the target's place", splice),
        Section("Best of n", best),
    ]


def _works(results: Results) -> str:
    """Clause 1."""
    rows = arm_rows(results, AV)
    over = {other: _above(results, AV, CONTROL, other) for other in (START, AR_ALONE)}
    if None in over.values():
        return f"Whether the round trip improves: {NOT_MEASURED}."
    seeds = seeds_named(len(rows[CONTROL].seeds))
    return (
        f"The round trip improves, for {seeds}: {_said(over[START])}. FVE went from"
        f" {bounds(rows[START].fve)} to {bounds(rows[CONTROL].fve)}{_told(over[START])}. Learning"
        f" to speak is part of it: {_said(over[AR_ALONE])}{_told(over[AR_ALONE])}."
    )


def _words(results: Results) -> str:
    """Clause 2."""
    rows, over = arm_rows(results, AV_NEUTRAL_AR), _above(results, AV_NEUTRAL_AR, CONTROL, START)
    if over is None:
        return f"Whether the words carry more under a neutral AR: {NOT_MEASURED}."
    return (
        f"The words carry more under a neutral AR: {_said(over)}. It reads"
        f" {bounds(rows[START].fve)} before and {bounds(rows[CONTROL].fve)} after{_told(over)}."
    )


def _who(results: Results) -> str:
    """Clause 3."""
    pairs = ((AV_ALONE, START), (AV_ALONE, AR_ALONE), (AR_ALONE, START))
    alone, between, other = (_above(results, AV, *pair) for pair in pairs)
    if alone is None or between is None or other is None:
        return f"Who of the two learns: {NOT_MEASURED}."
    found = "shown" if alone.shown and between.shown else "not shown"
    return (
        f"The AV's learning is the larger part: {found}. The AV alone gains"
        f" {bounds(alone.gain)}, the AR alone {bounds(other.gain)}{_told(between)}."
    )


def _quotes(results: Results) -> str:
    """Clause 4."""
    measures = results.measures.filter(measure="verbatim_4gram_share")
    over = _compared(results, measures.filter(arm=CONTROL), measures.filter(arm=START), 1.0)
    if over is None:
        return f"Whether the AV learns to quote: {NOT_MEASURED}."
    return f"It learns to quote: {_said(over)}{_told(over)} in the share of verbatim 4-grams."


class Over(NamedTuple):
    """By how much one arm is above another, and in the seed where it is least."""

    gain: Interval
    worst: float

    @property
    def shown(self) -> bool:
        """Interval and every seed above zero."""
        return self.gain.low > 0 and self.worst > 0


def _above(results: Results, source: str, arm: str, other: str) -> Over | None:
    """FVE of an arm minus that of another on one source; None where one was not measured."""
    rows = results.rows.filter(pl.col("applied"), source=source, transform=ORIGINAL)
    rows = rows.rename({"squared_error": "value"})
    scale = -1 / results.facts["variance"]
    return _compared(results, rows.filter(arm=arm), rows.filter(arm=other), scale)


def _compared(
    results: Results, rows: pl.DataFrame, other: pl.DataFrame, scale: float
) -> Over | None:
    """Differences of `value` times `scale`, paired by key and seed."""
    pairs = rows.join(other, on=[KEY, DOC_ID, "seed"], suffix="_other", maintain_order="left")
    if not pairs.height:
        return None
    gains = pairs.sort(KEY, "seed").select(
        KEY, DOC_ID, "seed", value=(pl.col("value") - pl.col("value_other")) * scale
    )
    means = gains.group_by(KEY, DOC_ID, maintain_order=True).agg(pl.col("value").mean())
    by_seed = gains.group_by("seed").agg(pl.col("value").mean())["value"].to_list()
    return Over(_mean(results, means), min(by_seed))


def _said(over: Over | None) -> str:
    return "shown" if over and over.shown else "not shown"


def _told(over: Over | None) -> str:
    assert over
    return f", a difference of {bounds(over.gain)}, {fixed(over.worst)} in the worst seed"


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
