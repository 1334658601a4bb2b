"""The target: fetched once, saved as safetensors with a manifest, loaded by everyone from there."""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from common.config import TargetConfig
from common.errors import NlaError, first_line
from common.manifest import check_content, read_manifest, withdraw_manifest, write_manifest
from common.packages import source_path
from common.target.identity import tokenizer_digest

REMEDY = "make it again with `dvc repro --force target`"


class Target(NamedTuple):
    """A frozen causal language model, its tokenizer, and the manifest they were saved with."""

    model: Any
    tokenizer: Any
    manifest: dict


def prepare_target(
    config: TargetConfig, out: Path, check: Callable[["Target"], None] = lambda _: None
) -> None:
    """Save the model of `config.model` in the folder `out` as fp32 safetensors, with a manifest.

    `check` gets the target as all will load it, before there is a manifest, and may raise.
    Raises NlaError for a missing package, folder or hub model, or a digest that does not match.
    """
    model, tokenizer = _fetch(config)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    out.mkdir(parents=True, exist_ok=True)
    withdraw_manifest(out)
    for left in out.iterdir():  # files of another model would be read along with this one's
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    model = _load(out)
    tokenizer = _tokenizer_of(out)
    facts = {
        "kind": "target",
        "config": config.digest(),
        "source": config.model,
        "tokenizer": tokenizer_digest(tokenizer),
        "d_model": model.config.hidden_size,
        "blocks": model.config.num_hidden_layers,
        "vocab": model.config.vocab_size,
    }
    check(Target(model, tokenizer, facts))
    write_manifest(out, **facts)


def load_target(folder: Path) -> Target:
    """The model in eval mode without gradients, from a folder that `prepare_target` made.

    NlaError when weights, settings or tokenizer are not those that its manifest was written for.
    """
    manifest = read_manifest(folder, made_by="target", kind="target")
    check_content(folder, manifest, "target", remedy=REMEDY)
    return Target(_load(folder), load_tokenizer(folder), manifest)


def _load(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    _quietly()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation=_attention(folder)
        )
    except loading_errors() as error:
        what = f"damaged weights ({first_line(error)})"
        raise NlaError(what, where=folder, remedy=REMEDY) from error
    model.requires_grad_(False).eval()
    fuse_norms(model)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The target's tokenizer alone; NlaError when it is not the one in the manifest."""
    manifest = read_manifest(folder, made_by="target", kind="target")
    tokenizer = _tokenizer_of(folder)
    if tokenizer_digest(tokenizer) != manifest["tokenizer"]:
        what = "the tokenizer is not the one in the manifest"
        raise NlaError(what, where=folder, remedy=REMEDY)
    return tokenizer


def _tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except loading_errors() as error:
        what = f"damaged tokenizer ({first_line(error)})"
        raise NlaError(what, where=folder, remedy=REMEDY) from error


class FusedRMSNorm(torch.nn.Module):
    """RMS norm by torch's one-pass kernel: the same numbers, about 7 % of a CPU training step."""

    weight: torch.Tensor
    variance_epsilon: float

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden / rms(hidden) * weight over the last axis."""
        return functional.rms_norm(hidden, hidden.shape[-1:], self.weight, self.variance_epsilon)


def fuse_norms(model: torch.nn.Module) -> None:
    """Give the norms of Llama-like models the fused kernel; others keep their own."""
    for module in model.modules():
        if type(module).__name__ in (
            "LlamaRMSNorm",
            "Qwen2RMSNorm",
            "Qwen3RMSNorm",
            "MistralRMSNorm",
        ):
            module.__class__ = FusedRMSNorm


def _quietly() -> None:
    """Turn off progress bars of transformers, which would fill logs."""
    if not sys.stderr.isatty():
        from transformers.utils import logging

        logging.disable_progress_bar()


def _fetch(config: TargetConfig) -> tuple[Any, Any]:
    _quietly()
    source = source_path(config.model, config.sha256)
    if source == "tiny":
        from common.target.tiny import tiny_target

        return tiny_target()
    return _from_gguf(source) if isinstance(source, Path) else _from_pretrained(source)


def _from_gguf(file: Path) -> tuple[Any, Any]:
    """Dequantise a GGUF file (a plain `gguf_file=` load could not be saved again)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils
    from transformers.utils.quantization_config import GgufConfig

    quiet: Any = modeling_gguf_pytorch_utils  # its bar has no switch: none without a terminal
    quiet.tqdm = partial(quiet.tqdm, disable=None)
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    quantization = GgufConfig(gguf_file=file.name, dequantize=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            **where, quantization_config=quantization, dtype=torch.float32
        )
        return model, AutoTokenizer.from_pretrained(**where)
    except (OSError, ValueError, LookupError, RuntimeError, NotImplementedError) as error:
        remedy = "bring a whole file of a kind of model that transformers reads from GGUF"
        raise NlaError(f"no GGUF ({first_line(error)})", where=file, remedy=remedy) from error


def _from_pretrained(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        return model, AutoTokenizer.from_pretrained(name)
    except loading_errors() as error:
        remedy = (
            "give a folder with whole weights, package:<name>==<version>/<file>, or a hub name"
            " where there is a network or a cached copy"
        )
        what = f"no such model, or a damaged one ({first_line(error)})"
        raise NlaError(what, where=name, remedy=remedy) from error


def _attention(folder: Path) -> str:
    """On a CPU and at these lengths (about 100 tokens) plain attention trains a fifth faster.

    Torch's fused attention does not support a soft cap, and ignores it without an error.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    capped = getattr(config, "attn_logit_softcapping", None) is not None
    return "sdpa" if torch.cuda.is_available() and not capped else "eager"


def loading_errors() -> tuple[type[Exception], ...]:
    """What `from_pretrained` raises for weights that are missing, out of reach or damaged."""
    from safetensors import SafetensorError

    return OSError, RuntimeError, ValueError, SafetensorError
