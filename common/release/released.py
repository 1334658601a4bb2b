"""A released NLA: what training changed in AV and AR, small enough to be stored with the code."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from common.config import AVConfig
from common.errors import NlaError
from common.manifest import check_content, read_manifest, withdraw_manifest, write_manifest
from common.metrics.fve import normalize
from common.metrics.standing import Familiar, Standing
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.models.verbalizer import Verbalizer
from common.paths import RELEASED
from common.release.deltas import Deltas, apply, factor
from common.release.sensitivity import sensitivities
from common.schema import readings_of
from common.target.load import Target
from decomposition.protocol import Decomposition
from decomposition.repeat import Repeat
from decomposition.single import Single

CARD = "README.md"
"""Test results of the files: written after them, and removed before they are replaced."""
MOST_BYTES = 15_500_000
"""Bytes of the weights of one model, so that a file stays below 16 MB."""
WRITES = ("injection", "max_explanation_tokens")
"""Settings of the AV, beside its slots, on which the meaning of its weights depends."""
STANDING = "standing.safetensors"
READ_AT_ONCE = 16


class Spoken(NamedTuple):
    """Explanations like the AV's own, by which the importance of weights is measured."""

    texts: list[str]
    inputs: Float[Tensor, "texts d_model"]

    def batches(self) -> Iterator["Spoken"]:
        """Small batches of them."""
        for start in range(0, len(self.texts), READ_AT_ONCE):
            rows = slice(start, start + READ_AT_ONCE)
            yield Spoken(self.texts[rows], self.inputs[rows])


class Released(NamedTuple):
    """Both models, and the manifest that they were saved with."""

    verbalizer: Verbalizer
    reconstructor: Reconstructor
    manifest: dict[str, Any]
    standing: Standing | None
    """None before the test."""


def save_released(
    folder: Path,
    verbalizer: Verbalizer,
    reconstructor: Reconstructor,
    target: Target,
    spoken: Spoken,
    **facts: Any,
) -> dict[str, Deltas]:
    """Write av.safetensors, ar.safetensors and manifest.json; returns what was kept of each.

    What does not fit is left out, first the parts that matter least to `spoken`. NlaError for an AR
    that is not a truncated copy of the target, and for an AV whose slots hold more than the
    activation.
    """
    if type(reconstructor) is not TruncatedReconstructor:
        kind = type(reconstructor).__name__
        remedy = "release a run whose AR is made of the target's blocks"
        raise NlaError(f"an AR of the kind {kind}", where=folder, remedy=remedy)
    _check_decomposition(verbalizer.decomposition, folder)
    writes = {name: getattr(verbalizer.config, name) for name in WRITES}
    writes["slots"] = verbalizer.decomposition.slots
    reads = {
        "blocks": len(reconstructor.decoder.layers),
        "max_explanation_tokens": reconstructor.max_explanation_tokens,
    }
    fresh = _build(target, writes, reads, verbalizer.alpha)
    if hasattr(verbalizer.model, "merge_and_unload"):
        verbalizer.model = verbalizer.model.float().merge_and_unload()
    speaking = sensitivities(verbalizer.model, _said(verbalizer.eval(), spoken))
    reading = sensitivities(reconstructor, _answered(reconstructor.eval(), spoken))
    pairs = {
        "av": factor(verbalizer.model, fresh[0].model, MOST_BYTES, speaking),
        "ar": factor(reconstructor, fresh[1], MOST_BYTES, reading),
    }
    _write(
        folder,
        pairs,
        target=target.manifest["source"],
        tokenizer=target.manifest["tokenizer"],
        templates=[verbalizer.template.digest(), reconstructor.template.digest()],
        alpha=verbalizer.alpha,
        av=writes,
        ar=reads,
        **facts,
    )
    return pairs


def _check_decomposition(decomposition: Decomposition, folder: Path) -> None:
    """NlaError for what a manifest of a release could not describe."""
    what, remedy = "", ""
    if decomposition.window > 1:
        what = f"an AV that reads the activations of {decomposition.window} positions"
        remedy = "release a run of a trunk without activations.window"
    elif type(decomposition) not in (Single, Repeat):
        what = f"an AV with the decomposition {type(decomposition).__name__}"
        remedy = "release a run whose AV has the same vector in every slot"
    if what:
        raise NlaError(what, where=folder, remedy=remedy)


def _write(folder: Path, pairs: dict[str, Deltas], **facts: Any) -> None:
    """Write the files, then the manifest; the old manifest is removed before."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    withdraw_manifest(folder)
    (folder / CARD).unlink(missing_ok=True)
    for name, deltas in pairs.items():
        save_file(deltas.tensors, folder / f"{name}.safetensors")
    ranks = {name: round(deltas.rank, 1) for name, deltas in pairs.items()}
    kept = {name: round(deltas.kept, 4) for name, deltas in pairs.items()}
    write_manifest(folder, kind="released", ranks=ranks, kept=kept, **facts)


def load_released(folder: Path, target: Target) -> Released:
    """The released AV and AR; NlaError for another target, template or damaged files."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    remedy = "take the folder as it was committed, and a profile of the target that it names"
    expected = {"target": target.manifest["source"], "tokenizer": target.manifest["tokenizer"]}
    if not (folder / "manifest.json").exists():
        raise NlaError("no released NLA", where=folder, remedy="name a folder below released/")
    manifest = read_manifest(folder, RELEASED.name, remedy=remedy, kind="released", **expected)
    check_content(folder, manifest, RELEASED.name, remedy=remedy)
    models = _build(target, manifest["av"], manifest["ar"], manifest["alpha"])
    if [model.template.digest() for model in models] != manifest["templates"]:
        raise NlaError("released with other templates than today's", where=folder, remedy=remedy)
    verbalizer, reconstructor = models
    try:
        apply(verbalizer.model, load_file(folder / "av.safetensors"))
        apply(reconstructor, load_file(folder / "ar.safetensors"))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise NlaError(f"damaged weights ({error})", where=folder, remedy=remedy) from error
    standing = _load_standing(folder) if (folder / STANDING).exists() else None
    return Released(verbalizer.eval(), reconstructor.eval(), manifest, standing)


def save_standing(folder: Path, standing: Standing, **facts: Any) -> None:
    """Write standing.safetensors beside the weights, and further facts into the manifest."""
    from safetensors.torch import save_file

    tensors = {
        "mean": standing.familiar.mean,
        "directions": standing.familiar.directions.half(),
        "cosines": torch.tensor(standing.cosines),
        "novelties": torch.tensor(standing.novelties),
        "fve": torch.tensor(standing.fve),
    }
    manifest = read_manifest(folder, RELEASED.name)
    withdraw_manifest(folder)
    save_file(tensors, folder / STANDING)
    write_manifest(folder, **{k: v for k, v in manifest.items() if k != "digest"} | facts)


def _load_standing(folder: Path) -> Standing:
    from safetensors.torch import load_file

    found = load_file(folder / STANDING)
    known = Familiar(found["mean"], found["directions"].float())
    lists = found["cosines"].tolist(), found["novelties"].tolist()
    return Standing(*lists, familiar=known, fve=float(found["fve"]))


def _said(verbalizer: Verbalizer, spoken: Spoken) -> Iterator[Tensor]:
    """The AV's loss on each batch; on texts like its own this gives its Fisher matrix."""
    for texts, inputs in spoken.batches():
        yield verbalizer(verbalizer.encode(texts, inputs)).sum()


def _answered(reconstructor: TruncatedReconstructor, spoken: Spoken) -> Iterator[Tensor]:
    """The AR's outputs along random directions, which give the Gauss-Newton matrix on average."""
    random = torch.Generator().manual_seed(0)
    for texts, inputs in spoken.batches():
        along = torch.randn(inputs.shape, generator=random)
        yield (normalize(reconstructor(reconstructor.encode(readings_of(texts)))) * along).sum()


def _build(
    target: Target, writes: dict[str, Any], reads: dict[str, Any], alpha: float
) -> tuple[Verbalizer, TruncatedReconstructor]:
    """Both models before any training."""
    config = AVConfig(examples=1, learning_rate=1.0, lora_rank=0, **writes)
    verbalizer = Verbalizer(target.model, target.tokenizer, config, alpha)
    return verbalizer, TruncatedReconstructor(target.model, target.tokenizer, **reads)
