"""Let an AR read texts: in batches of similar length, each text once."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.device import in_bfloat16
from common.models.reconstructor import Reconstructor
from common.schema import TokenBatch


def reconstruct(
    model: Reconstructor, texts: Sequence[str], batch_size: int, precision: str
) -> Float[Tensor, "rows d_model"]:
    """The AR's output for each text, on the CPU; `precision` as in TrainerConfig."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16(precision)):
        found = read_in_batches(model, model, texts, batch_size)
    model.train(was_training)
    return found


@torch.no_grad()
def read_in_batches(
    model: Reconstructor,
    read: Callable[[TokenBatch], Tensor],
    texts: Sequence[str],
    batch_size: int,
) -> Float[Tensor, "rows width"]:
    """What `read` makes of each text as the AR encodes it, on the CPU in float32."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    device, found = next(model.parameters()).device, []
    for start in range(0, len(distinct), batch_size):
        tokens = model.encode(distinct[start : start + batch_size]).to(device)
        found.append(read(tokens).float().cpu())
    place = {text: row for row, text in enumerate(distinct)}
    return torch.cat(found)[[place[text] for text in texts]]
