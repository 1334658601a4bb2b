"""Sections of the report of `baseline`: published figures beside its own."""

from math import isnan

from common.metrics.statistics import Interval
from common.report.damaged import survival_table
from common.report.markdown import ABSENT, bounds, fixed, table
from common.report.results import CONTROL, Results
from common.report.section import Section
from common.report.spoken import spoken_sections
from common.report.tables import arm_table
from common.report.verdict import NOT_MEASURED
from common.schema import AV, TEACHER
from experiments.baseline.rule import WARM_START

PUBLISHED_FVE = {WARM_START: (0.37, 0.49), CONTROL: (0.67, 0.80)}
"""FVE of NLAs for targets of 7 to 70 billion parameters, before and after reinforcement."""
PUBLISHED_TEACHER_FVE = (0.49, 0.64)
"""FVE of the warm-started AR, on its teacher's explanations."""
PUBLISHED_SHARES = {
    "paraphrase": 0.637 / 0.650,
    "quotes_only": 0.427 / 0.650,
    "quotes_stripped": 0.051 / 0.650,
    "full_paraphrase": 0.165 / 0.650,
}
"""FVE of transformed explanations divided by that of the originals, after reinforcement."""
NOT_RUN = (
    "truncation training (FVE of the first 10 tokens from 0.11 to 0.45), a length penalty (0.68"
    " with 144 tokens, 0.59 with 50, 0.48 with 34), injection by addition (a tenth less loss), 16"
    " injected vectors instead of one (0.017 nats)"
)


def sections(results: Results) -> list[Section]:
    """Sections on each arm's own texts, and on the published figures."""
    return [*spoken_sections(results), _beside_published(results)]


def _beside_published(results: Results) -> Section:
    """Each published figure, the same quantity here, and whether the interval here includes it."""
    spoken, taught = (
        {row.arm: row.fve for row in arm_table(results, source)} for source in (AV, TEACHER)
    )
    lines = [
        _beside(f"FVE of `{arm}`", low, high, spoken.get(arm))
        for arm, (low, high) in PUBLISHED_FVE.items()
    ]
    title = f"FVE on the teacher's explanations, `{WARM_START}`"
    lines.insert(1, _beside(title, *PUBLISHED_TEACHER_FVE, taught.get(WARM_START)))
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
