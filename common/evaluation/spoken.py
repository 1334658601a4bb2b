"""The explanations of the test activations by a writer, and measures of them.

Each measure is a function of `Spoken` that gives one row per activation and value: key, cluster
(its document), measure, value. An arm lists the measures that it uses.
"""

from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from common.device import best_device, in_bfloat16
from common.evaluation.conditions import other_documents
from common.evaluation.copied import copied
from common.evaluation.test_set import TestSet
from common.metrics.quotes import quote_share, unpaired_marks
from common.models.verbalizer import Verbalizer
from common.rollout.sampler import sample_explanations
from common.schema import (
    AR_SFT,
    DEV,
    DOC_ID,
    EXPLANATION,
    KEY,
    SPLIT,
    TEACHER,
    TEST,
    TEXT,
    TOKEN_IDS,
    Reader,
    Reading,
    View,
    nothing,
    readings_of,
)
from common.target.splice import spliced_kl
from common.target.text import encode


class Spoken(NamedTuple):
    """The writer, its explanation of each test activation, and how an AR reads it."""

    tests: TestSet
    verbalizer: Verbalizer | None
    """None where the writer is not an AV."""
    read: Reader
    texts: list[str]
    seed: int
    written: pl.DataFrame
    """All its explanations, those of `texts` and of other splits: key, split, explanation."""
    view: View = nothing
    """What the AR may see of an input."""

    def readings(self, texts: list[str], each: int = 1) -> list[Reading]:
        """What the AR reads: `each` texts of every one of the first test activations."""
        ids = self.tests.table[TOKEN_IDS].head(len(texts) // each).to_list()
        seen = [self.view(tuple(row)) for row in ids for _ in range(each)]
        return readings_of(texts, seen)


def explained(tests: TestSet) -> pl.DataFrame:
    """The activations that every AV explains: those of test and dev, and some for neutral ARs.

    Columns key, doc_id, split, text and token_ids.
    """
    columns = [KEY, DOC_ID, SPLIT, TEXT, TOKEN_IDS]
    held_out = [
        table.with_columns(pl.lit(split).alias(SPLIT)).select(columns)
        for split, table in ((TEST, tests.table), (DEV, tests.dev))
    ]
    others = tests.trunk.activations([AR_SFT], columns)
    count = min(others.height, tests.profile.evaluation.neutral_examples)
    return pl.concat([*held_out, others.sample(count, seed=0).select(columns)])


def speak(tests: TestSet, verbalizer: Verbalizer) -> pl.DataFrame:
    """Greedy explanations of the activations of `explained`: key, doc_id, split, explanation."""
    profile, table = tests.profile, explained(tests).select(KEY, DOC_ID, SPLIT)
    greedy, precision = profile.rollout.replace(temperature=0.0), profile.trainer.precision
    inputs = tests.trunk.inputs[table[KEY].to_list()]
    texts = sample_explanations(verbalizer, inputs, greedy, precision=precision)
    return table.with_columns(pl.Series(EXPLANATION, texts))


def text_measures(spoken: Spoken) -> pl.DataFrame:
    """Length in tokens, share inside quotation marks, unpaired marks, and what is copied."""
    tests, texts = spoken.tests, spoken.texts
    sources, documents = tests.table[TEXT].to_list(), tests.table[DOC_ID].to_list()
    columns = {
        "tokens": [len(ids) for ids in encode(tests.trunk.tokenizer, texts)],
        "quote_share": [quote_share(text) for text in texts],
        "unpaired_marks": [unpaired_marks(text) for text in texts],
        **copied(texts, sources, other_documents(documents)),
    }
    tensors = {name: torch.tensor(values) for name, values in columns.items()}
    return measures_of(tests.table, tensors)


def splice_measures(spoken: Spoken) -> pl.DataFrame:
    """KL of the next token with the reconstruction spliced in, and with the mean direction."""
    trunk, table = spoken.tests.trunk, spoken.tests.table
    target = trunk.target.model.to(best_device())
    read = spoken.read(spoken.readings(spoken.texts))
    both = torch.stack([read, trunk.mean.to(read).expand_as(read)], 1)
    columns = spliced_kl(target, trunk.layer, table[TOKEN_IDS].to_list(), both)
    named = {"splice_kl": columns[:, 0], "splice_kl_mean_direction": columns[:, 1]}
    return measures_of(table, named)


@torch.inference_mode()
def loss_measures(spoken: Spoken) -> pl.DataFrame:
    """Nats per token of the teacher's text, given its activation and given another document's."""
    tests, model, device = spoken.tests, spoken.verbalizer, best_device()
    assert model, "an AV has a loss"
    table, keys = tests.table, tests.keys
    swapped = [keys[row] for row in other_documents(table[DOC_ID].to_list())]
    texts, size = table[TEACHER].to_list(), tests.profile.evaluation.batch_size
    low = in_bfloat16(tests.profile.trainer.precision)
    columns: dict[str, Tensor] = {}
    for name, given in {"true_loss": keys, "shuffled_loss": swapped}.items():
        inputs, found = tests.trunk.inputs[given], []
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            batch = model.encode(texts[part], inputs[part]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low):
                found.append(model(batch).float().cpu())
        columns[name] = torch.cat(found)
    return measures_of(table, columns)


def measures_of(table: pl.DataFrame, columns: dict[str, Tensor]) -> pl.DataFrame:
    """A row for each activation of a table and each named column of values."""
    keys = table.select(KEY, cluster=pl.col(DOC_ID))
    return pl.concat(
        keys.with_columns(
            pl.lit(name).alias("measure"), pl.Series("value", values.double().cpu().tolist())
        )
        for name, values in columns.items()
    )
