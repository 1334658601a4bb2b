"""Explanations side by side: what each writer says of the same activations."""

from typing import NamedTuple

import polars as pl

from common.report.markdown import ABSENT, code, fixed, plain, table
from common.report.results import Results
from common.report.tables import ORIGINAL, mean_errors
from common.schema import AV, KEY

MOST_EXAMPLES = 8
SOURCE_CHARACTERS = 400
"""So much of a text is shown, from its end."""


class Example(NamedTuple):
    """One activation and what each writer says of it."""

    key: str
    source_text: str
    table: str


def examples(results: Results) -> list[Example]:
    """The first activations of `texts`, what each writer says and how well each arm reads it."""
    writers = [name for name in results.texts.columns if name not in ("key", "source_text")]
    cosines = {source: _cosines(results, source) for source in results.sources}
    cosines |= {arm: _own_cosines(results, arm) for arm in writers if arm in results.arms}
    shown = []
    for text in results.texts.head(MOST_EXAMPLES).to_dicts():
        cells = [
            {
                "writer": name,
                "explanation": plain(text[name]),
                "cosine by arm": cosines.get(name, {}).get(text["key"], ABSENT),
            }
            for name in writers
        ]
        ending = text["source_text"][-SOURCE_CHARACTERS:]
        cut = "… " if len(ending) < len(text["source_text"]) else ""
        shown.append(Example(text["key"], cut + plain(ending), table(cells)))
    return shown


def _cosines(results: Results, source: str) -> dict[str, str]:
    """{key: cosine of each arm, averaged over seeds, as text}."""
    errors, by_key = mean_errors(results, source), {}
    for arm in results.arms:
        if (ORIGINAL, arm) in errors:
            for key, cosine in errors[ORIGINAL, arm].select("key", "cosine").iter_rows():
                by_key.setdefault(key, []).append(f"{code(arm)} {fixed(cosine)}")
    return {key: ", ".join(cosines) for key, cosines in by_key.items()}


def _own_cosines(results: Results, arm: str) -> dict[str, str]:
    """{key: cosine of what the arm's AR makes of its AV's text}, of the seed that is shown."""
    rows = results.rows.filter(pl.col("applied"), arm=arm, source=AV, transform=ORIGINAL)
    first = rows.filter(pl.col("seed") == pl.col("seed").min()).select(KEY, "cosine")
    return {key: f"{code(arm)} {fixed(cosine)}" for key, cosine in first.iter_rows()}
