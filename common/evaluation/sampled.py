"""Measures of an AV that need several explanations of one activation."""

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device, in_bfloat16
from common.evaluation.spoken import Spoken, measures_of
from common.metrics.fve import squared_errors
from common.models.verbalizer import Verbalizer
from common.profile import Profile
from common.rollout.engine import Rollouts
from common.rollout.sampler import sample_rollouts, texts_of
from common.schema import KEY
from common.training.objectives import kl_estimate


def sampled_measures(spoken: Spoken) -> pl.DataFrame:
    """Measures of samples: the best of the first n, and the distance to the AV before training.

    The temperature is the profile's, also for an arm that trains at another one.

    `best_of_n` is the squared error of the best sample, chosen by the AR that reads. `sampled_kl`
    is KL(AV || AV before reinforcement learning) in nats per token, a mean over the samples.
    """
    tests, verbalizer = spoken.tests, spoken.verbalizer
    assert verbalizer, "an AV is sampled"
    profile = tests.profile
    config, count = profile.rl, profile.rl.samples
    table = tests.table.head(profile.evaluation.best_of_activations)
    keys = table[KEY].to_list()
    inputs, vectors = tests.trunk.inputs[keys], tests.trunk.store[keys]
    warm = profile.rollout.replace(temperature=config.temperature)
    precision = profile.trainer.precision
    written = sample_rollouts(verbalizer, inputs, warm, spoken.seed, precision, count)
    texts = [text for _, rows in written for text in texts_of(verbalizer, rows)]
    answers = spoken.read(spoken.readings(texts, each=count))
    errors = squared_errors(answers, vectors.repeat_interleave(count, 0)).view(-1, count)
    sizes = [2**power for power in range(count.bit_length()) if 2**power <= count]
    columns = {f"best_of_{size}": errors[:, :size].min(1).values for size in sizes}
    columns["sampled_kl"] = kl_to_warm_start(profile, verbalizer, written)
    return measures_of(table, columns)


@torch.inference_mode()
def kl_to_warm_start(
    profile: Profile, verbalizer: Verbalizer, written: list[tuple[Tensor, Rollouts]]
) -> Float[Tensor, " activations"]:
    """KL of each activation's samples to the AV without the adapters of reinforcement learning."""
    found, device = [], best_device()
    low = in_bfloat16(profile.trainer.precision)
    temperature, count = profile.rl.temperature, profile.rl.samples
    for inputs, rows in written:
        asked = (rows.ids, rows.mask, inputs, count, temperature)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            now = verbalizer.sampled_log_probs(*asked)
            with verbalizer.as_before():
                before = verbalizer.sampled_log_probs(*asked)
        found.append(kl_estimate(now, before, rows.mask).view(-1, count).mean(1))
    return torch.cat(found)
