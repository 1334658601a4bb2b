"""The decision rule of `baseline`, applied to collected results, and what only its report shows."""

from math import isnan

from common.metrics.statistics import Interval
from common.report.decisions import NOT_MEASURED, arm_rows, seeds_named, stopped_early
from common.report.markdown import ABSENT, bounds, fixed, table
from common.report.paired import fve_over, measure_over, said, told
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from common.report.tables import survival_table
from common.schema import AV, AV_NEUTRAL_AR, TEACHER

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
PUBLISHED_FVE = {START: (0.37, 0.49), CONTROL: (0.67, 0.80)}
"""Of NLAs for targets of 7 to 70 billion parameters, before and after reinforcement learning."""
PUBLISHED_TEACHER_FVE = (0.49, 0.64)
"""Of the AR that was warm-started, on its teacher's explanations."""
PUBLISHED_SHARES = {
    "paraphrase": 0.637 / 0.650,
    "quotes_only": 0.427 / 0.650,
    "quotes_stripped": 0.051 / 0.650,
    "full_paraphrase": 0.165 / 0.650,
}
"""FVE of transformed explanations over that of the originals, after reinforcement learning."""
NOT_RUN = (
    "truncation training (FVE of the first 10 tokens from 0.11 to 0.45), a length penalty (0.68"
    " with 144 tokens, 0.59 with 50, 0.48 with 34), injection by addition (a tenth less loss), 16"
    " injected vectors instead of one (0.017 nats)"
)


def verdict(results: Results) -> str:
    """One paragraph per clause of the decision rule; the first is what the index shows."""
    parts = [_works(results), _words(results), _who(results), _quotes(results)]
    return "\n\n".join([*parts, *stopped_early(results)])


def sections(results: Results) -> list[Section]:
    """What each arm's AV wrote, and the published figures beside these."""
    return [*spoken_sections(results), _beside_published(results)]


def _beside_published(results: Results) -> Section:
    """Each published figure, the same quantity here, and whether the interval here holds it."""
    measured, taught = arm_rows(results, AV), arm_rows(results, TEACHER)
    reads = taught[START].fve if START in taught else None
    lines = [
        _beside(f"FVE of `{arm}`", low, high, measured[arm].fve if arm in measured else None)
        for arm, (low, high) in PUBLISHED_FVE.items()
    ]
    title = f"FVE on the teacher's explanations, `{START}`"
    lines.insert(1, _beside(title, *PUBLISHED_TEACHER_FVE, reads))
    shares = {row.transform: row.share for row in survival_table(results, AV) if row.arm == CONTROL}
    for name, share in PUBLISHED_SHARES.items():
        title = f"share of `{CONTROL}`'s FVE that `{name}` keeps"
        lines.append(_beside(title, share, share, shares.get(name)))
    text = (
        "Published NLAs have targets 50 to 500 times as large, with explanations two to three times"
        " as long. *Replicates* asks only whether the 95 % interval here meets the published figure"
        " or range; that reinforcement learning raises FVE is clause 1 of the verdict.\n\n"
    )
    rest = f"\n\nPublished, too, but not run here: {NOT_RUN}."
    return Section("Beside published figures", text + table(lines) + rest)


def _beside(title: str, low: float, high: float, here: Interval | None) -> dict[str, str]:
    published = fixed(low) if low == high else f"{fixed(low)} to {fixed(high)}"
    found = ABSENT
    if here and not isnan(here.low):
        found = "yes" if here.low <= high and here.high >= low else "no"
    cells = {"quantity": title, "published": published}
    return cells | {"here": bounds(here) if here else NOT_MEASURED, "replicates": found}


def _works(results: Results) -> str:
    """Clause 1."""
    rows, gained = arm_rows(results, AV), fve_over(results, AV, CONTROL, START)
    if gained is None:
        return f"Whether the round trip improves: {NOT_MEASURED}."
    spoken = fve_over(results, AV, CONTROL, AR_ALONE)
    part = f"{said(spoken)}{told(spoken)}" if spoken else f"{NOT_MEASURED}, no `{AR_ALONE}`"
    return (
        f"The round trip improves, for {seeds_named(len(rows[CONTROL].seeds))}: {said(gained)}. FVE"
        f" went from {bounds(rows[START].fve)} to {bounds(rows[CONTROL].fve)}{told(gained)}."
        f" Learning to speak is part of it: {part}."
    )


def _words(results: Results) -> str:
    """Clause 2."""
    rows, over = arm_rows(results, AV_NEUTRAL_AR), fve_over(results, AV_NEUTRAL_AR, CONTROL, START)
    if over is None:
        return f"Whether the words carry more under a neutral AR: {NOT_MEASURED}."
    return (
        f"The words carry more under a neutral AR: {said(over)}. It reads"
        f" {bounds(rows[START].fve)} before and {bounds(rows[CONTROL].fve)} after{told(over)}."
    )


def _who(results: Results) -> str:
    """Clause 3."""
    pairs = ((AV_ALONE, START), (AV_ALONE, AR_ALONE), (AR_ALONE, START))
    alone, between, other = (fve_over(results, AV, *pair) for pair in pairs)
    if alone is None or between is None or other is None:
        return f"Who of the two learns: {NOT_MEASURED}."
    found = "shown" if alone.shown and between.shown else "not shown"
    return (
        f"The AV's learning is the larger part: {found}. The AV alone gains"
        f" {bounds(alone.gain)}, the AR alone {bounds(other.gain)}{told(between)}."
    )


def _quotes(results: Results) -> str:
    """Clause 4."""
    over = measure_over(results, "verbatim_4gram_share", CONTROL, START)
    if over is None:
        return f"Whether the AV learns to quote: {NOT_MEASURED}."
    return f"It learns to quote: {said(over)}{told(over)} in the share of verbatim 4-grams."
