"""Which known facts about a position stand in its explanation, whoever wrote it, in any format.

Nothing is trained: words are looked for. A word may stand anywhere in the explanation, also by
chance: each hit is corrected by how often the explanations of other documents hit. The last words
of the source text do not count as known: who copies them has named nothing.
"""

from collections.abc import Callable, Sequence

import polars as pl
import torch

from common.data.offline_teacher import shown_token
from common.data.syntax import FUNCTION_WORDS
from common.evaluation.conditions import other_documents
from common.evaluation.known import Known, known_of
from common.evaluation.spoken import Spoken, measures_of
from common.metrics.quotes import quoted_spans
from common.metrics.words import words

PLACING = FUNCTION_WORDS | {"inside", "just"}
"""Words of syntax.py's phrases that do not tell one phrase from another."""


def content_measures(spoken: Spoken) -> pl.DataFrame:
    """`content_<fact>` of each test activation, and `content`, the mean of those that it has.

    (hit - chance) / (1 - chance), with the mean hit of other documents' explanations as chance: 1
    where the fact is named, 0 on average where it is named by chance alone. A row for which a fact
    is not known, such as a document without a topic, has no row of that measure.
    """
    table = spoken.tests.table
    known, _ = known_of(spoken.tests.trunk, spoken.tests.keys)
    columns = content(spoken.texts, known)
    frames = []
    for name, values in columns.items():
        rows = [row for row, value in enumerate(values) if value is not None]
        if rows:
            present = torch.tensor([values[row] for row in rows], dtype=torch.float64)
            frames.append(measures_of(table[rows], {name: present}))
    return pl.concat(frames)


def content(texts: Sequence[str], known: Sequence[Known]) -> dict[str, list[float | None]]:
    """Corrected hits by measure, one for each text; None where the fact is not known.

    A fact that every other document's explanation hits, too, has the value 0 for all texts.
    """
    swapped = [texts[other] for other in other_documents([one.doc_id for one in known])]
    found: dict[str, list[float | None]] = {}
    for name, hit in HITS.items():
        own = [hit(*pair) for pair in zip(texts, known, strict=True)]
        others = [hit(*pair) for pair in zip(swapped, known, strict=True)]
        present = [value for value in others if value is not None]
        chance = sum(present) / max(len(present), 1)
        found[name] = [
            None if value is None else (value - chance) / (1 - chance) if chance < 1 else 0.0
            for value in own
        ]
    rows = zip(*found.values(), strict=True)
    present = [[value for value in row if value is not None] for row in rows]
    return found | {"content": [sum(row) / len(row) if row else None for row in present]}


def names_token(text: str, token: str) -> bool:
    """Whether a text tells a token of the target.

    A token with letters or digits: one of the text's words is its word. A sign stands alone in
    quotation marks. What has no sign is named as the offline teacher does (`a line break`).
    """
    shown = shown_token(token)
    wanted = words(token if shown.startswith('"') else shown)
    if wanted:
        return f" {' '.join(wanted)} " in f" {' '.join(words(text))} "
    return any(text[start:end].strip() == shown[1:-1] for start, end in quoted_spans(text))


def _next(count: int) -> Callable[[str, Known], float | None]:
    def hit(text: str, known: Known) -> float | None:
        copied = known.ending
        tokens = [one for one in known.next_tokens[:count] if not copied & {*words(one)}]
        return float(any(names_token(text, token) for token in tokens)) if tokens else None

    return hit


def _share_found(text: str, phrase: str | None, known: Known) -> float | None:
    """Share of the content words of a phrase that are words of the text; None without any."""
    wanted = set(words(phrase or "")) - FUNCTION_WORDS - known.ending
    return len(wanted & set(words(text))) / len(wanted) if wanted else None


def _title(text: str, known: Known) -> float | None:
    return _share_found(text, known.title, known)


def _topic(text: str, known: Known) -> float | None:
    return _share_found(text, known.topic, known)


def _syntax(text: str, known: Known) -> float:
    """The phrase as it is, or the words that make up its first half, such as `preposition`."""
    found, phrase = set(words(text)), known.syntax
    key_words = set(words(phrase.split(",")[0])) - PLACING
    return float(phrase in text.casefold() or (bool(key_words) and key_words <= found))


HITS: dict[str, Callable[[str, Known], float | None]] = {
    "content_next_top1": _next(1),
    "content_next_top5": _next(5),
    "content_title": _title,
    "content_topic": _topic,
    "content_syntax": _syntax,
}
