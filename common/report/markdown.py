"""Numbers and text as Markdown: one fixed format, the same everywhere in a report."""

import math
import re
from collections.abc import Mapping, Sequence

from common.metrics.statistics import Interval, excludes_zero

ABSENT = "\N{EN DASH}"
"""Shown where nothing was measured."""
INCLUDES_ZERO = "°"
"""Marks an interval that includes zero."""
WRITERS = {
    "teacher": "teacher's explanations",
    "av": "AV's explanations",
    "av_untrained_ar": "AV's explanations, read by the arm's AR as it was before reinforcement",
    "av_neutral_ar": "AV's explanations, read by the neutral ARs",
}
WORDS = {
    "cap_hit": "texts that reach the cap",
    "dev_fve": "FVE, dev documents",
    "dev_fve_neutral_ar": "FVE under the neutral ARs, dev documents",
    "dev_fve_untrained_ar": "FVE under the AR as it was, dev documents",
    "dev_kl_greedy": "KL to the AV before, dev documents (nats)",
    "dev_quote_share": "share in quotation marks, dev documents",
    "conditional_av": "AV text beside the view",
    "conditional_av_elsewhere": "that of another position",
    "conditional_av_swapped": "that of another document",
    "conditional_teacher": "teacher text beside the view",
    "conditional_teacher_elsewhere": "teacher text of another position",
    "conditional_teacher_swapped": "teacher text of another document",
    "content_next_top1": "likeliest next token",
    "content_next_top5": "one of the five likeliest",
    "content_syntax": "syntax",
    "content_title": "title",
    "content_topic": "topic",
    "distinct_1": "different words among all",
    "distinct_2": "different word pairs among all",
    "embedding_ridge": "ridge on embeddings",
    "empty": "empty texts",
    "invented": "quoted words that are invented",
    "length": "tokens",
    "length_tokens": "tokens",
    "longest_run": "longest run of source words",
    "names_last": "true last word anywhere",
    "names_last_excess": "true last word anywhere, less chance",
    "non_ascii": "characters beyond ASCII",
    "quotes_only": "quotes alone",
    "quotes_stripped": "without quotes",
    "random_stripped": "without as many\nrandom words",
    "quote_share": "share in quotation marks",
    "repetition": "word 3-grams that stand earlier in the text",
    "rl_cap_hit": "share of samples that reach the cap",
    "rl_entropy": "entropy of samples (nats per token)",
    "rl_length": "tokens of samples",
    "rl_reward": "reward of samples",
    "rl_reward_spread": "spread of rewards in a group of samples",
    "role_leakage": "texts with pieces of the chat format",
    "suffix_1": "last word copied",
    "suffix_excess_1": "last word copied, beyond chance",
    "suffix_excess_2": "last two words copied, beyond chance",
    "suffix_excess_3": "last three words copied, beyond chance",
    "suffix_excess_4": "last four words copied, beyond chance",
    "tfidf_ridge": "ridge on TF-IDF",
    "train_loss": "training loss",
    "train_seconds": "training (s)",
    "train_tokens": "training tokens",
    "unpaired_marks": "unpaired quotation marks",
    "unbalanced_quotes": "texts with an unpaired quotation mark",
    "verbatim_random_stripped": "without as many\nrandom words, twin of\nverbatim quotes",
    "verbatim_stripped": "without\nverbatim quotes",
    "view_gain": "AR minus closed form of its view",
    "view_read": "view alone",
}
"""Words for measures, metrics and curves whose names do not explain them."""
ABBREVIATIONS = re.compile(r"\b(ar|auroc|av|fve|kl|rl)\b")
SPECIAL = re.compile(r"([\\`*_\[\]|~$])")


def fixed(value: float | None) -> str:
    """Three decimals; absent for None and NaN; zero has no sign."""
    if value is None or math.isnan(value):
        return ABSENT
    return f"{value:.3f}".replace("-0.000", "0.000")


def amount(value: float | int | None) -> str:
    """Counts with thousands separators, other numbers with three significant digits."""
    if value is None or math.isnan(value):
        return ABSENT
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 1e15)
    return f"{int(value):,}" if whole else f"{value:,.0f}" if abs(value) >= 1e3 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """`31 s`, `19 min` or `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def percent(share: float) -> str:
    """A share in [0, 1] as a whole percentage, rounded towards 50 % so that 100 % means all."""
    exact = round(100 * share, 6)
    return f"{math.floor(exact) if share > 0.5 else math.ceil(exact)} %"


def includes_zero(interval: Interval) -> bool:
    """Whether zero lies within bounds that are defined."""
    return not math.isnan(interval.low) and not excludes_zero(interval)


def bounds(interval: Interval | None) -> str:
    """`0.576 [0.540, 0.615]`, marked when it includes zero; without bounds the estimate alone."""
    if interval is None or math.isnan(interval.estimate):
        return ABSENT
    if math.isnan(interval.low):
        return fixed(interval.estimate)
    mark = INCLUDES_ZERO if includes_zero(interval) else ""
    return f"{fixed(interval.estimate)} [{fixed(interval.low)}, {fixed(interval.high)}]{mark}"


def code(name: str) -> str:
    """A name as inline code."""
    return f"`{name}`"


def plain(text: str | None) -> str:
    """Any text on one line, with nothing that Markdown or HTML would read as markup."""
    if not text:
        return ABSENT
    line = SPECIAL.sub(r"\\\1", " ".join(text.split()))
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cell(text: str) -> str:
    """Our own Markdown on one line, escaped for a table."""
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(text.split()))


def label(name: str) -> str:
    """The name of a column, a measure or an arm in words."""
    spaced = name.replace("_", " ")
    return WORDS.get(name) or re.sub(ABBREVIATIONS, lambda found: found[0].upper(), spaced)


def writer(source: str) -> str:
    """The writer of the explanations of a source, in words."""
    return WRITERS.get(source, f"explanations of {source}")


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table of ready cells; a column with nothing in it is left out; "" for no rows."""
    if not rows:
        return ""
    titles = dict.fromkeys(title for row in rows for title in row)
    shown = [title for title in titles if any(row.get(title, ABSENT) != ABSENT for row in rows)]
    lines = [shown, ["---"] * len(shown)]
    lines += [[row.get(title, ABSENT) for title in shown] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
