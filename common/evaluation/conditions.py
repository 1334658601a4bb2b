"""The texts an AR is tested on: every explanation unchanged, damaged, shortened, swapped."""

from typing import Any

import polars as pl

from common.config import EvaluationConfig
from common.evaluation.swaps import swaps
from common.evaluation.transforms import prefix, transform_all
from common.schema import DOC_ID, EXPLANATION, KEY, TEXT, TOKEN_IDS
from common.target.text import decode

ORIGINAL, SHUFFLED, SOURCE_TEXT = "original", "shuffled", "source_text"
FULL_PARAPHRASE = "full_paraphrase"

Conditions = dict[str, list[str | None]]
"""Name of the condition → one text per row; None where it could not be applied."""


def conditions(table: pl.DataFrame, config: EvaluationConfig, tokenizer: Any) -> Conditions:
    """All conditions of one writer's explanations, in the order of the table.

    `table` has the columns key, doc_id, text (the source) and explanation. A condition that cannot
    be applied to a text leaves None there: it is counted, never replaced by the original.
    """
    texts, keys = table[EXPLANATION].to_list(), table[KEY].to_list()
    prefixes = {
        f"prefix_{count}": [prefix(text, count, tokenizer) for text in texts]
        for count in config.prefix_lengths
    }
    transformed = transform_all(texts, keys, table[TEXT].to_list())
    doc_ids = table[DOC_ID].to_list()
    exchanged = swaps(texts, keys, doc_ids)
    whole = {ORIGINAL: list(texts), SHUFFLED: shuffled(texts, doc_ids)}
    return {**whole, **exchanged, **transformed, **prefixes}


def shuffled(texts: list[str], doc_ids: list[str]) -> list[str | None]:
    """For each row the text of another document."""
    return [texts[other] for other in other_documents(doc_ids)]


def source_texts(table: pl.DataFrame, tokenizer: Any, limit: int) -> list[str]:
    """The last `limit` tokens of each source text up to the position; no AR trained on it."""
    return decode(tokenizer, [ids[-limit:] for ids in table[TOKEN_IDS].to_list()])


def other_documents(doc_ids: list[str], share: float = 0.5) -> list[int]:
    """For each row the index of a row of another document, a share of all rows further on."""
    order = sorted(range(len(doc_ids)), key=lambda row: (doc_ids[row], row))
    step = int(len(order) * share)
    swapped = [0] * len(order)
    for place, row in enumerate(order):
        swapped[row] = order[(place + step) % len(order)]
    assert all(doc_ids[row] != doc_ids[other] for row, other in enumerate(swapped)), (
        "too few documents"
    )
    return swapped
