"""Let an AR read texts: in batches of similar length, each text once."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.models.reconstructor import Reconstructor


@torch.no_grad()
def reconstruct(
    model: Reconstructor, texts: Sequence[str], batch_size: int, precision: str
) -> Float[Tensor, "rows d_model"]:
    """The AR's output for each text, on the CPU; `precision` as in TrainerConfig."""
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    device, predictions = next(model.parameters()).device, []
    low = precision.startswith("bf16")
    was_training = model.training
    model.eval()
    with torch.autocast(device.type, torch.bfloat16, enabled=low):
        for start in range(0, len(distinct), batch_size):
            tokens = model.encode(distinct[start : start + batch_size]).to(device)
            predictions.append(model(tokens).float().cpu())
    model.train(was_training)
    place = {text: row for row, text in enumerate(distinct)}
    return torch.cat(predictions)[[place[text] for text in texts]]
