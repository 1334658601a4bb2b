"""Numbers of single test activations, for arms whose AVs write texts of their own.

Each function gives one row per activation and measure: key, doc_id, measure, value.
"""

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device, in_bfloat16
from common.material import Material
from common.metrics.fve import squared_errors
from common.metrics.quotes import quote_share, unpaired_marks, verbatim_ngram_share
from common.models.verbalizer import Verbalizer
from common.rollout.engine import Rollouts
from common.rollout.sampler import sample_rollouts, texts_of
from common.schema import DOC_ID, KEY, TEXT, TOKEN_IDS, Reader, readings_of
from common.target.splice import spliced_kl
from common.target.text import encode
from common.training.objectives import kl_estimate


def text_measures(material: Material, texts: list[str]) -> pl.DataFrame:
    """Length in tokens, share inside quotation marks, marks without a partner, verbatim 4-grams."""
    table = material.test_table
    pairs = zip(texts, table[TEXT].to_list(), strict=True)
    columns = {
        "tokens": [len(ids) for ids in encode(material.tokenizer, texts)],
        "quote_share": [quote_share(text) for text in texts],
        "unpaired_marks": [unpaired_marks(text) for text in texts],
        "verbatim_4gram_share": [verbatim_ngram_share(*pair) for pair in pairs],
    }
    return _measures(table, {name: torch.tensor(values) for name, values in columns.items()})


def splice_measures(material: Material, read: Float[Tensor, "rows d_model"]) -> pl.DataFrame:
    """KL of the next token with the reconstruction spliced in, and with the mean direction."""
    table, target = material.test_table, material.target.model.to(best_device())
    both = torch.stack([read, material.mean.to(read).expand_as(read)], 1)
    columns = spliced_kl(target, material.layer, table[TOKEN_IDS].to_list(), both)
    return _measures(table, {"splice_kl": columns[:, 0], "splice_kl_mean_direction": columns[:, 1]})


def sampled_measures(
    material: Material, verbalizer: Verbalizer, read: Reader, seed: int
) -> pl.DataFrame:
    """Of samples at one temperature: the best of the first n, and how far the AV has gone.

    The temperature is the profile's, also for an arm that trains at another.

    `best_of_n` is the squared error of the best, chosen by the AR that is asked. `sampled_kl` is
    KL(AV || AV before reinforcement) in nats per token, a mean over the samples.
    """
    config, rollout = material.profile.rl, material.profile.rollout
    table, count = material.test_table.head(config.best_of_activations), config.samples
    vectors = material.store[table[KEY].to_list()]
    warm = rollout.replace(temperature=config.temperature)
    precision = material.profile.trainer.precision
    written = sample_rollouts(verbalizer, vectors, warm, seed, precision, count)
    texts = [text for _, rows in written for text in texts_of(verbalizer, rows)]
    truth = vectors.repeat_interleave(count, 0)
    errors = squared_errors(read(readings_of(texts)), truth).view(-1, count)
    sizes = [2**power for power in range(count.bit_length()) if 2**power <= count]
    columns = {f"best_of_{size}": errors[:, :size].min(1).values for size in sizes}
    return _measures(table, columns | {"sampled_kl": _gone(material, verbalizer, written)})


@torch.inference_mode()
def _gone(
    material: Material, verbalizer: Verbalizer, written: list[tuple[Tensor, Rollouts]]
) -> Float[Tensor, " activations"]:
    """KL of each activation's samples to the AV without the adapters of reinforcement."""
    found, device = [], best_device()
    low = in_bfloat16(material.profile.trainer.precision)
    temperature, count = material.profile.rl.temperature, material.profile.rl.samples
    for vectors, rows in written:
        asked = (rows.ids, rows.mask, vectors, count, temperature)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            now = verbalizer.sampled_log_probs(*asked)
            with verbalizer.as_before():
                before = verbalizer.sampled_log_probs(*asked)
        found.append(kl_estimate(now, before, rows.mask).view(-1, count).mean(1))
    return torch.cat(found)


def _measures(table: pl.DataFrame, columns: dict[str, Tensor]) -> pl.DataFrame:
    keys = table.select(KEY, DOC_ID)
    return pl.concat(
        keys.with_columns(
            pl.lit(name).alias("measure"), pl.Series("value", values.double().cpu().tolist())
        )
        for name, values in columns.items()
    )
