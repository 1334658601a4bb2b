"""Let an AR read in batches of similar length, each reading once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.device import best_device, in_bfloat16
from common.models.reconstructor import Reconstructor
from common.profile import Profile
from common.schema import Reader, Reading

CHARACTERS = 4
"""Characters of a typical token: lengths of texts and sources are compared in characters."""


def reconstruct(
    model: Reconstructor, readings: Sequence[Reading], batch_size: int, precision: str
) -> Float[Tensor, "rows d_model"]:
    """The AR's output for each reading, on the CPU; `precision` as in TrainerConfig."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(precision)):
        found = read_in_batches(model, model, readings, batch_size)
    model.train(was_training)
    return found


@torch.no_grad()
def read_in_batches(
    model: Reconstructor,
    read: Callable[[Any], Tensor],
    readings: Sequence[Reading],
    batch_size: int,
) -> Float[Tensor, "rows width"]:
    """The result of `read` for each reading, encoded by the AR; on the CPU in float32."""
    distinct = sorted(set(readings), key=_by_length)
    device, found = next(model.parameters()).device, []
    for start in range(0, len(distinct), batch_size):
        batch = model.encode(distinct[start : start + batch_size]).to(device)
        found.append(read(batch).float().cpu())
    place = {reading: row for row, reading in enumerate(distinct)}
    return torch.cat(found)[[place[reading] for reading in readings]]


def _by_length(reading: Reading) -> tuple[int, Reading]:
    return len(reading.text) + CHARACTERS * len(reading.source), reading


class Remembering:
    """A reader that asks another one for each reading once."""

    def __init__(self, read: Reader) -> None:
        """Knows no answer yet."""
        self.read = read
        self.known: dict[Reading, Tensor] = {}

    def __call__(self, readings: Sequence[Reading]) -> Float[Tensor, "rows d_model"]:
        """The answers, in the order asked."""
        if new := [one for one in dict.fromkeys(readings) if one not in self.known]:
            self.known |= zip(new, self.read(new), strict=True)
        return torch.stack([self.known[one] for one in readings])


def reader_of(model: Reconstructor, profile: Profile) -> Reader:
    """The function by which an AR reads in a test."""
    size, precision = profile.evaluation.batch_size, profile.trainer.precision
    return lambda readings: reconstruct(model.to(best_device()), readings, size, precision)
