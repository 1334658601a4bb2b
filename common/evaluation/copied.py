"""Measures of what an explanation has copied, or pretends to have copied, from the source text."""

from collections.abc import Sequence

from common.evaluation.statements import outline
from common.metrics.copying import invented_share, longest_run, matched_suffix

SUFFIXES = range(1, 5)


def copied(
    texts: Sequence[str], sources: Sequence[str], others: Sequence[int]
) -> dict[str, list[float]]:
    """Columns of values, one for each text, by measure.

    `suffix_k` is 1 where the explanation's quotation ends in the true last k words, else 0;
    `suffix_excess_k` is that minus the same with the text of another document, whose rows are
    `others`: -1, 0 or 1. `longest_run` is in words, and `longest_run_excess` that minus the run of
    the other text in the same source: longer texts have longer runs by chance. `invented` is a
    share of the quoted words.
    """
    outlines = [outline(text) for text in texts]
    endings = [one.ending_words for one in outlines]
    own = [matched_suffix(*pair) for pair in zip(endings, sources, strict=True)]
    swapped = [endings[other] for other in others]
    chance = [matched_suffix(*pair) for pair in zip(swapped, sources, strict=True)]
    found: dict[str, list[float]] = {}
    for k in SUFFIXES:
        found[f"suffix_{k}"] = [float(count >= k) for count in own]
        pairs = zip(own, chance, strict=True)
        found[f"suffix_excess_{k}"] = [float(a >= k) - float(b >= k) for a, b in pairs]
    pairs = list(zip(texts, outlines, sources, strict=True))
    runs = [longest_run(text, source) for text, _, source in pairs]
    by_chance = [
        longest_run(texts[other], source) for other, source in zip(others, sources, strict=True)
    ]
    found["longest_run"] = [float(run) for run in runs]
    found["longest_run_excess"] = [float(a - b) for a, b in zip(runs, by_chance, strict=True)]
    found["invented"] = [invented_share(one.quoted, source) for _, one, source in pairs]
    return found
