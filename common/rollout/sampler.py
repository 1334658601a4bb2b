"""Let an AV explain activations, as texts, in batches, with the rollout engine."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.config import RolloutConfig
from common.device import in_bfloat16
from common.models.adapters import Adapter, side_by_side
from common.models.packing import Product, product_with
from common.models.sharding import is_sharded, whole
from common.models.verbalizer import Verbalizer
from common.progress import progress
from common.rollout.adapters import adapters_of
from common.rollout.engine import Engine, Rollouts, Write, keyed_draws, roll_out, room_of
from common.target.text import decode


def sample_explanations(
    verbalizer: Verbalizer,
    inputs: Float[Tensor, "rows width"],
    config: RolloutConfig,
    seed: int = 0,
    precision: str = "bf16-mixed",
    samples: int = 1,
) -> list[str]:
    """`samples` explanations of each activation, in order; greedy at temperature 0.

    At most `max_explanation_tokens` tokens each. `precision` as in TrainerConfig. A text depends on
    the seed and its index alone, whatever the batch size.
    """
    written = sample_rollouts(verbalizer, inputs, config, seed, precision, samples)
    return [text for _, rows in written for text in texts_of(verbalizer, rows)]


def sample_rollouts(
    verbalizer: Verbalizer,
    inputs: Float[Tensor, "rows width"],
    config: RolloutConfig,
    seed: int = 0,
    precision: str = "bf16-mixed",
    samples: int = 1,
) -> list[tuple[Tensor, Rollouts]]:
    """As `sample_explanations`, as tokens: each batch of inputs and its rollouts."""
    device, room = next(verbalizer.parameters()).device, room_of(verbalizer)
    low = in_bfloat16(precision)
    at_once = max(1, config.batch_size // samples)
    written = []
    with (
        torch.inference_mode(),
        engine_of(config)(verbalizer, low) as write,
        torch.autocast(device.type, torch.bfloat16, enabled=low),
        progress("explanations", len(inputs), "row") as bar,
    ):
        for start in range(0, len(inputs), at_once):
            batch = inputs[start : start + at_once].to(device)
            places = range(start, start + len(batch))
            draws = [keyed_draws((seed, place), samples, room) for place in places]
            rows = write(batch, samples, config.temperature, torch.cat(draws))
            written.append((batch, rows))
            bar.update(len(batch))
    return written


def texts_of(
    verbalizer: Verbalizer, rollouts: Rollouts, budgets: list[int] | None = None
) -> list[str]:
    """The explanations as an AR reads them: whole, or the first `budgets` tokens of each row."""
    rows = rollouts.written()
    if budgets:
        rows = [ids[:budget] for ids, budget in zip(rows, budgets, strict=True)]
    return [text.strip() for text in decode(verbalizer.tokenizer, rows)]


def engine_of(config: RolloutConfig) -> Engine:
    """The engine that a profile chooses."""
    if config.engine == "own":
        return own_engine
    from common.rollout.vllm_engine import vllm_engine

    return vllm_engine(config.vllm_memory)


@contextmanager
def own_engine(verbalizer: Verbalizer, low_precision: bool) -> Iterator[Write]:
    """The AV's own model, with its weights prepared for decoding."""
    with merged(verbalizer, low_precision):
        yield partial(roll_out, verbalizer)


@contextmanager
def merged(verbalizer: Verbalizer, low_precision: bool) -> Iterator[None]:
    """Within this context products are prepared for decoding; no weight is changed, none may learn.

    Decoding runs one token at a time, so that every extra matrix product and cast costs time:
    weights are packed where that is faster on a CPU, and adapters are merged into them. In low
    precision adapters are instead joined into one beside each weight: merged, a small adapter would
    be lost in the rounding to bfloat16, and the samples would be those of the model without it.
    """
    if is_sharded(verbalizer.language_model.get_decoder()):
        with whole(verbalizer):
            yield
        return
    adapters = adapters_of(verbalizer)
    linears = [m for m in verbalizer.language_model.modules() if type(m) is nn.Linear]
    assert adapters.keys() <= set(linears), "an adapter that could not be folded in"
    try:
        with verbalizer.adapted_by([]) if adapters else nullcontext():
            for module in linears:
                added = adapters.get(module, [])
                vars(module)["forward"] = _product_of(module, added, low_precision)
            yield
    finally:
        for module in linears:
            vars(module).pop("forward", None)


@torch.no_grad()
def _product_of(module: nn.Linear, added: list[Adapter], low_precision: bool) -> Product:
    weight, bias = module.weight.data, module.bias
    if not low_precision:
        weight = weight.float()
        for up, down, scale in added:
            weight = torch.addmm(weight, up, down, alpha=scale)
        return product_with(weight, bias)
    product = product_with(weight.bfloat16(), None if bias is None else bias.bfloat16())
    if not added:
        return lambda states: product(states.bfloat16())
    up, down = (factor.bfloat16().T for factor in side_by_side(added))
    return lambda states: product(low := states.bfloat16()).add_(low @ down @ up)
