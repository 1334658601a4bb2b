"""Our own ways of running a model, each compared with the model's own forward; NlaError if unlike.

For speed, blocks, attention and head are called one by one, by code written for known families. A
family that this code does not fit would give wrong numbers without an error; it is refused here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from common.config import AVConfig
from common.errors import NlaError, first_line
from common.models.reconstructor import TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.rollout.engine import keyed_draws, room_of
from common.rollout.sampler import own_engine
from common.schema import TokenBatch
from common.target.load import Target
from common.target.parts import OTHER_MODEL, entering
from common.target.residual import read_residual
from common.target.splice import spliced_kl
from common.target.text import beginning

LENGTHS = (40, 29)
"""Numbers of tokens of the compared texts; two lengths, so that there is padding."""
WRITTEN, SAMPLES = 12, 2
"""Tokens of an explanation, and number of explanations of an activation."""
TOLERANCE = 2e-3
"""Largest difference that counts as rounding: in nats, or as a share of a vector's length."""
OURS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    AssertionError,
)
"""What our code may raise on a model that it was not written for."""


class Sample(NamedTuple):
    """The inputs on which all paths are compared."""

    target: Target
    layer: int
    texts: list[list[int]]
    vectors: Float[Tensor, "texts d_model"]
    av: AVConfig


def check_own_paths(target: Target, layer: int, av: AVConfig) -> None:
    """NlaError that names the first of our paths that differs from the model's own forward.

    `layer` is the block after which activations are read; `av` says where vectors are injected.
    """
    where = f"{type(target.model).__name__}, block {layer}"
    if not hasattr(target.model.get_decoder(), "layers"):
        raise NlaError("the model has no `layers`", where=where, remedy=OTHER_MODEL)
    sample = _sample(target, layer, av)
    for name, path in PATHS.items():
        try:
            difference = path(sample)
        except NlaError:
            raise
        except OURS as error:
            what = f"{name} does not run with this model ({first_line(error)})"
            raise NlaError(what, where=where, remedy=OTHER_MODEL) from error
        if not difference <= TOLERANCE:
            what = f"{name} differs from the model's own forward by {difference:.2g}"
            raise NlaError(what, where=where, remedy=OTHER_MODEL)


@torch.inference_mode()
def reading(sample: Sample) -> float:
    """Activations and next tokens of texts read together, padded and without a mask."""
    model, layer = sample.target.model, sample.layer
    last = [len(ids) - 1 for ids in sample.texts]
    device = sample.vectors.device
    places = torch.arange(len(last), device=device), torch.tensor(last, device=device)
    read = read_residual(model, _padded(sample), [layer], places, choices=5)
    states, logits = zip(*(_own(model, layer, ids) for ids in sample.texts), strict=True)
    expected = torch.stack([one[-1].softmax(-1) for one in logits])
    probabilities = expected.gather(1, read.next_ids.to(expected.device))
    return max(
        _distance(read.activations[layer], torch.stack([one[-1] for one in states])),
        _largest(read.next_probs, probabilities),
    )


@torch.inference_mode()
def blocks_of_an_ar(sample: Sample) -> float:
    """The first blocks without the final norm, with texts read as a tree."""
    model, tokenizer = sample.target.model, sample.target.tokenizer
    reconstructor = TruncatedReconstructor(model, tokenizer, sample.layer + 1, max(LENGTHS)).eval()
    read = reconstructor.last_state(_padded(sample))
    states = [_own(model, sample.layer, ids)[0][-1] for ids in sample.texts]
    return _distance(read, torch.stack(states))


@torch.no_grad()
def decoding(sample: Sample) -> float:
    """Log-probabilities of the tokens that an AV samples one by one, for an injected vector."""
    verbalizer = _verbalizer(sample)
    draws = keyed_draws(("own paths",), len(sample.vectors) * SAMPLES, room_of(verbalizer))
    with own_engine(verbalizer, False) as write:
        rollouts = write(sample.vectors, SAMPLES, 1.0, draws)
    own = [
        _own_log_probs(verbalizer, sample.vectors[row // SAMPLES], ids[mask])
        for row, (ids, mask) in enumerate(zip(rollouts.ids, rollouts.mask, strict=True))
    ]
    return _largest(rollouts.log_probs[rollouts.mask], torch.cat(own))


@torch.no_grad()
def training(sample: Sample) -> float:
    """Log-probabilities that an AV is trained on, of texts that it might have written."""
    verbalizer = _verbalizer(sample)
    ids = torch.tensor([text[-WRITTEN:] for text in sample.texts], device=sample.vectors.device)
    mask = torch.ones_like(ids, dtype=torch.bool)
    found = verbalizer.sampled_log_probs(ids, mask, sample.vectors, samples=1)
    pairs = zip(sample.vectors, ids, strict=True)
    return _largest(found, torch.stack([_own_log_probs(verbalizer, *pair) for pair in pairs]))


@torch.no_grad()
def injecting(sample: Sample) -> float:
    """The norms with which the slots' vectors enter block 0, as shares of alpha."""
    verbalizer = _verbalizer(sample)
    template, model = verbalizer.template, verbalizer.language_model
    prompt = torch.tensor([template.prompt_ids], device=sample.vectors.device)
    entered: list[Tensor] = []
    with entering(model.get_decoder().layers[0], entered.append):
        embeddings = verbalizer.embed(prompt, sample.vectors[:1])
        model(inputs_embeds=embeddings, use_cache=False)
    norms = entered[0][0, list(template.slot_columns)].float().norm(dim=-1)
    expected = verbalizer.decomposition(sample.vectors[:1])[0].norm(dim=-1)
    return _largest(norms / verbalizer.alpha, expected)


@torch.inference_mode()
def splicing(sample: Sample) -> float:
    """KL of the next token when another vector stands in an activation's place."""
    model, layer = sample.target.model, sample.layer
    found = spliced_kl(model, layer, sample.texts, sample.vectors[:, None])[:, 0]
    own = []
    for ids, vector in zip(sample.texts, sample.vectors, strict=True):
        untouched = _own(model, layer, ids)[1][-1].log_softmax(-1)
        spliced = _own(model, layer, ids, vector)[1][-1].log_softmax(-1)
        own.append((untouched.exp() * (untouched - spliced)).sum())
    return _largest(found, torch.stack(own))


PATHS: dict[str, Callable[[Sample], float]] = {
    "reading activations": reading,
    "reading by the AR's blocks": blocks_of_an_ar,
    "injecting a vector": injecting,
    "decoding with an injected vector": decoding,
    "an AV's log-probabilities in training": training,
    "splicing a reconstruction": splicing,
}


def _sample(target: Target, layer: int, av: AVConfig) -> Sample:
    """Random tokens after the usual beginning of a text, and random vectors of the right length."""
    generator = torch.Generator().manual_seed(0)
    model, tokenizer = target.model, target.tokenizer
    device, before = next(model.parameters()).device, beginning(tokenizer)
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    usual = torch.tensor([index for index in range(len(tokenizer)) if index not in special])
    texts = [
        [*before, *usual[torch.randint(len(usual), (length,), generator=generator)].tolist()]
        for length in LENGTHS
    ]
    width = model.get_input_embeddings().weight.shape[1]
    vectors = torch.randn(len(texts), width, generator=generator).to(device)
    short = av.replace(lora_rank=0, max_explanation_tokens=WRITTEN, injection="replace")
    return Sample(target, layer, texts, vectors, short)


def _verbalizer(sample: Sample) -> Verbalizer:
    """An untrained AV; `alpha` is a typical norm of the model's own embeddings."""
    model, tokenizer = sample.target.model, sample.target.tokenizer
    alpha = float(model.get_input_embeddings().weight.float().norm(dim=1).median())
    return Verbalizer(model, tokenizer, sample.av, alpha).eval()


def _padded(sample: Sample) -> TokenBatch:
    ids = pad_sequence([torch.tensor(text) for text in sample.texts], batch_first=True)
    lengths = torch.tensor([len(text) for text in sample.texts])
    batch = TokenBatch(ids, torch.arange(ids.shape[1]) < lengths[:, None])
    return batch.to(sample.vectors.device)


def _own(
    model: Any, layer: int, ids: list[int], spliced: Tensor | None = None
) -> tuple[Float[Tensor, "time d_model"], Float[Tensor, "time vocab"]]:
    """States after a block, and logits, of one text by the model's plain forward.

    If `spliced` is given, it replaces the last token's state, scaled to that state's length.
    """
    states: list[Tensor] = []

    def catch(_module: Any, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[0].float())
        if spliced is None:
            return None
        changed = hidden.clone()
        changed[0, -1] = spliced / spliced.norm() * hidden[0, -1].norm()
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = model.get_decoder().layers[layer].register_forward_hook(catch)
    try:
        tokens = torch.tensor([ids], device=next(model.parameters()).device)
        logits = model(input_ids=tokens, use_cache=False).logits[0].float()
    finally:
        handle.remove()
    return states[0], logits


def _own_log_probs(
    verbalizer: Verbalizer, vector: Float[Tensor, "d_model"], written: Tensor
) -> Float[Tensor, " written"]:
    """Log-probabilities of an explanation by one plain forward; slots get alpha times vector."""
    model, prompt = verbalizer.language_model, verbalizer.template.prompt_ids
    ids = torch.tensor([*prompt, *written.tolist()], device=vector.device)[None]
    slots = list(verbalizer.template.slot_columns)
    vectors = verbalizer.decomposition(vector[None])

    def inject(hidden: Tensor) -> None:
        hidden[:, slots] = (verbalizer.alpha * vectors).to(hidden.dtype)

    with entering(model.get_decoder().layers[0], inject):
        logits = model(inputs_embeds=model.get_input_embeddings()(ids), use_cache=False).logits
    log_probs = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    return log_probs.gather(1, written[:, None]).squeeze(1)


def _largest(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference; NaN when either holds one, which no tolerance allows."""
    return float((found.to(expected) - expected).abs().max())


def _distance(found: Tensor, expected: Tensor) -> float:
    """Largest difference of two rows, as a share of the expected length."""
    difference = (found.to(expected) - expected).norm(dim=-1)
    return float((difference / expected.norm(dim=-1).clamp(min=1e-12)).max())
