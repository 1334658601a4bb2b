"""A section of the report of `ar_small`: how much quotes carry beyond as many other words."""

from common.report.markdown import bounds, code, table
from common.report.results import Results
from common.report.section import Section
from common.report.tables import ALL_QUOTES, VERBATIM, quote_effects
from common.report.verdict import NOT_MEASURED
from common.schema import AV, TEACHER

TEXTS = {TEACHER: "teacher text", AV: "AV text"}
PAIRS = {"verbatim": VERBATIM, "all quotes": ALL_QUOTES}


def sections(results: Results) -> list[Section]:
    """One section, by arm, for verbatim quotes and for all quotes."""
    effects = {
        f"{name}, {text}": quote_effects(results, source, pair)
        for name, pair in PAIRS.items()
        for source, text in TEXTS.items()
    }
    rows = [
        {"arm": code(arm)}
        | {
            title: bounds(by_arm[arm]) if arm in by_arm else NOT_MEASURED
            for title, by_arm in effects.items()
        }
        for arm in results.arms
    ]
    text = (
        "FVE without quotes minus FVE without as many random spans of as many words and"
        " punctuation marks, on the same explanations (paired, 95 % interval by document, not"
        " corrected for the number of arms). Below zero: a quote carries more than as many other"
        " words. *Verbatim* quotes are quotations of at least two words that stand word for word in"
        " the source text; *all quotes* also hold the target's next-token predictions."
    )
    return [Section("Do quotes carry more than other words?", f"{text}\n\n{table(rows)}")]
