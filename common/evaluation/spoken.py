"""What an AV says of the test activations, and what is measured of it.

Each measure is a function of `Spoken` that gives one row per activation and number: key, cluster
(its document), measure, value. An arm lists those that it wants.
"""

from typing import NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device, in_bfloat16
from common.evaluation.conditions import other_documents
from common.evaluation.test_set import TestSet
from common.metrics.fve import squared_errors
from common.metrics.quotes import quote_share, unpaired_marks, verbatim_ngram_share
from common.models.reconstructor import Reconstructor
from common.models.verbalizer import Verbalizer
from common.profile import Profile
from common.rollout.engine import Rollouts
from common.rollout.reading import reconstruct
from common.rollout.sampler import sample_explanations, sample_rollouts, texts_of
from common.schema import (
    AR_SFT,
    DOC_ID,
    EXPLANATION,
    KEY,
    SPLIT,
    TEACHER,
    TEST,
    TEXT,
    TOKEN_IDS,
    Reader,
    readings_of,
)
from common.target.splice import spliced_kl
from common.target.text import encode
from common.training.objectives import kl_estimate


class Spoken(NamedTuple):
    """Who writes, what that says of each test activation, and how an AR reads it."""

    tests: TestSet
    verbalizer: Verbalizer | None
    """None where no AV writes."""
    read: Reader
    texts: list[str]
    seed: int


def reader_of(model: Reconstructor, profile: Profile) -> Reader:
    """How an AR reads in a test."""
    size, precision = profile.evaluation.batch_size, profile.trainer.precision
    return lambda readings: reconstruct(model.to(best_device()), readings, size, precision)


def explained(tests: TestSet) -> pl.DataFrame:
    """The activations that every AV explains: those of the test, and some for a neutral AR.

    Columns key, doc_id, split, text and token_ids.
    """
    columns = [KEY, DOC_ID, SPLIT, TEXT, TOKEN_IDS]
    test = tests.table.with_columns(pl.lit(TEST).alias(SPLIT)).select(columns)
    others = tests.trunk.activations([AR_SFT], columns)
    count = min(others.height, tests.profile.evaluation.neutral_examples)
    return pl.concat([test, others.sample(count, seed=0).select(columns)])


def speak(tests: TestSet, verbalizer: Verbalizer) -> pl.DataFrame:
    """Greedy explanations of these activations: key, doc_id, split, explanation."""
    profile, table = tests.profile, explained(tests).select(KEY, DOC_ID, SPLIT)
    greedy, precision = profile.rollout.replace(temperature=0.0), profile.trainer.precision
    vectors = tests.trunk.store[table[KEY].to_list()]
    texts = sample_explanations(verbalizer, vectors, greedy, precision=precision)
    return table.with_columns(pl.Series(EXPLANATION, texts))


def texts_of_test(tests: TestSet, written: pl.DataFrame) -> list[str]:
    """A run's own explanations in the order of the test activations."""
    texts = dict(written.select(KEY, EXPLANATION).iter_rows())
    return [texts[key] for key in tests.keys]


def text_measures(spoken: Spoken) -> pl.DataFrame:
    """Length in tokens, share inside quotation marks, marks without a partner, verbatim 4-grams."""
    tests, texts = spoken.tests, spoken.texts
    pairs = zip(texts, tests.table[TEXT].to_list(), strict=True)
    columns = {
        "tokens": [len(ids) for ids in encode(tests.trunk.tokenizer, texts)],
        "quote_share": [quote_share(text) for text in texts],
        "unpaired_marks": [unpaired_marks(text) for text in texts],
        "verbatim_4gram_share": [verbatim_ngram_share(*pair) for pair in pairs],
    }
    return _measures(tests.table, {name: torch.tensor(values) for name, values in columns.items()})


def splice_measures(spoken: Spoken) -> pl.DataFrame:
    """KL of the next token with the reconstruction spliced in, and with the mean direction."""
    trunk, table = spoken.tests.trunk, spoken.tests.table
    target, read = trunk.target.model.to(best_device()), spoken.read(readings_of(spoken.texts))
    both = torch.stack([read, trunk.mean.to(read).expand_as(read)], 1)
    columns = spliced_kl(target, trunk.layer, table[TOKEN_IDS].to_list(), both)
    return _measures(table, {"splice_kl": columns[:, 0], "splice_kl_mean_direction": columns[:, 1]})


def sampled_measures(spoken: Spoken) -> pl.DataFrame:
    """Of samples at one temperature: the best of the first n, and how far the AV has gone.

    The temperature is the profile's, also for an arm that trains at another.

    `best_of_n` is the squared error of the best, chosen by the AR that is asked. `sampled_kl` is
    KL(AV || AV before reinforcement) in nats per token, a mean over the samples.
    """
    tests, verbalizer = spoken.tests, spoken.verbalizer
    assert verbalizer, "an AV is sampled"
    profile = tests.profile
    config, count = profile.rl, profile.rl.samples
    table = tests.table.head(profile.evaluation.best_of_activations)
    vectors = tests.trunk.store[table[KEY].to_list()]
    warm = profile.rollout.replace(temperature=config.temperature)
    precision = profile.trainer.precision
    written = sample_rollouts(verbalizer, vectors, warm, spoken.seed, precision, count)
    texts = [text for _, rows in written for text in texts_of(verbalizer, rows)]
    errors = squared_errors(spoken.read(readings_of(texts)), vectors.repeat_interleave(count, 0))
    errors = errors.view(-1, count)
    sizes = [2**power for power in range(count.bit_length()) if 2**power <= count]
    columns = {f"best_of_{size}": errors[:, :size].min(1).values for size in sizes}
    columns["sampled_kl"] = kl_to_warm_start(profile, verbalizer, written)
    return _measures(table, columns)


@torch.inference_mode()
def kl_to_warm_start(
    profile: Profile, verbalizer: Verbalizer, written: list[tuple[Tensor, Rollouts]]
) -> Float[Tensor, " activations"]:
    """KL of each activation's samples to the AV without the adapters of reinforcement."""
    found, device = [], best_device()
    low = in_bfloat16(profile.trainer.precision)
    temperature, count = profile.rl.temperature, profile.rl.samples
    for vectors, rows in written:
        asked = (rows.ids, rows.mask, vectors, count, temperature)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            now = verbalizer.sampled_log_probs(*asked)
            with verbalizer.as_before():
                before = verbalizer.sampled_log_probs(*asked)
        found.append(kl_estimate(now, before, rows.mask).view(-1, count).mean(1))
    return torch.cat(found)


@torch.inference_mode()
def loss_measures(spoken: Spoken) -> pl.DataFrame:
    """Nats per token of the teacher's text given its activation, and given another document's."""
    tests, model, device = spoken.tests, spoken.verbalizer, best_device()
    assert model, "an AV has a loss"
    table, keys = tests.table, tests.keys
    swapped = [keys[row] for row in other_documents(table[DOC_ID].to_list())]
    texts, size = table[TEACHER].to_list(), tests.profile.evaluation.batch_size
    low = in_bfloat16(tests.profile.trainer.precision)
    columns: dict[str, Tensor] = {}
    for name, given in {"true_loss": keys, "shuffled_loss": swapped}.items():
        vectors, found = tests.trunk.store[given], []
        for start in range(0, len(texts), size):
            part = slice(start, start + size)
            batch = model.encode(texts[part], vectors[part]).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=low):
                found.append(model(batch).float().cpu())
        columns[name] = torch.cat(found)
    return _measures(table, columns)


def _measures(table: pl.DataFrame, columns: dict[str, Tensor]) -> pl.DataFrame:
    keys = table.select(KEY, cluster=pl.col(DOC_ID))
    return pl.concat(
        keys.with_columns(
            pl.lit(name).alias("measure"), pl.Series("value", values.double().cpu().tolist())
        )
        for name, values in columns.items()
    )
