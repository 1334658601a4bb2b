"""Explanations side by side: what each writer writes about the same activations."""

import polars as pl

from common.metrics.quotes import verbatim_spans
from common.report.fve import ORIGINAL, mean_errors
from common.report.markdown import ABSENT, code, fixed, plain, table
from common.report.results import CONTROL, Results
from common.schema import AV, KEY

ON_PAGE, IN_DETAILS = 4, 8
"""Number of activations on the page, and of further ones in the details."""
SOURCE_CHARACTERS = 400
"""Number of characters shown of a text, from its end."""
BEGIN, END = "\ue000", "\ue001"
"""Placeholders for the marks of bold type while text is escaped; no text contains them."""


def examples(results: Results, first: int, count: int, every_cosine: bool = False) -> str:
    """A table of some rows of `texts`: the source, each writer's text, how well it is read.

    The cosine is that of the writer's own AR, else of the control's, or of every arm if
    `every_cosine`. Quotations of at least two words that occur verbatim in the source are in bold
    type.
    """
    writers = [name for name in results.texts.columns if name not in (KEY, "source_text")]
    arms = results.arms if every_cosine else [CONTROL]
    cosines = {source: _cosines(results, source, arms) for source in results.sources}
    cosines |= {arm: _own_cosines(results, arm) for arm in writers if arm in results.arms}
    title = "cosine by arm" if every_cosine else "cosine"
    cells = []
    for text in results.texts.slice(first, count).to_dicts():
        cells.append({"": "**source**", "text": shown_ending(text["source_text"])})
        cells += [
            {
                "": name,
                "text": marked(text[name], text["source_text"]),
                title: cosines.get(name, {}).get(text[KEY], ABSENT),
            }
            for name in writers
        ]
    return table(cells)


def marked(text: str | None, source: str) -> str:
    """An explanation in one line, its quotations from the source in bold type."""
    shown = text or ""
    for start, end in reversed(verbatim_spans(shown, source)):
        inner = shown[start:end].strip()
        start += len(shown[start:end]) - len(shown[start:end].lstrip())
        end = start + len(inner)
        shown = f"{shown[:start]}{BEGIN}{inner}{END}{shown[end:]}"
    return plain(shown).replace(BEGIN, "**").replace(END, "**")


def shown_ending(source: str) -> str:
    """The end of a source text, in Markdown."""
    ending = source[-SOURCE_CHARACTERS:]
    return ("… " if len(ending) < len(source) else "") + plain(ending)


def _cosines(results: Results, source: str, arms: list[str]) -> dict[str, str]:
    """{key: cosine of each arm, averaged over seeds, as text}; with names if there are several."""
    errors, by_key = mean_errors(results, source), {}
    for arm in arms:
        if (ORIGINAL, arm) in errors:
            name = f"{code(arm)} " if len(arms) > 1 else ""
            for key, cosine in errors[ORIGINAL, arm].select(KEY, "cosine").iter_rows():
                by_key.setdefault(key, []).append(f"{name}{fixed(cosine)}")
    return {key: ", ".join(cosines) for key, cosines in by_key.items()}


def _own_cosines(results: Results, arm: str) -> dict[str, str]:
    """{key: cosine of the arm's AR for its own AV's text}, of the seed that is shown."""
    rows = results.rows.filter(pl.col("applied"), arm=arm, source=AV, transform=ORIGINAL)
    first = rows.filter(pl.col("seed") == pl.col("seed").min()).select(KEY, "cosine")
    return {key: fixed(cosine) for key, cosine in first.iter_rows()}
