import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from common.config import TargetConfig
from common.errors import NlaError
from common.manifest import write_manifest
from common.target.identity import tokenizer_digest
from common.target.load import (
    FusedRMSNorm,
    Target,
    fuse_norms,
    load_target,
    load_tokenizer,
    prepare_target,
)
from common.target.tiny import tiny_target

MADE_BY_WRITING = ("files", "content", "digest")


@pytest.fixture
def folder(target_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny target that a test may damage."""
    return shutil.copytree(target_folder, tmp_path / "target")


def refused(folder: Path, match: str) -> str:
    with pytest.raises(NlaError, match=match) as caught:
        load_target(folder)
    message = str(caught.value)
    assert "dvc repro" in message
    assert "\n" not in message
    return message


def test_a_loaded_target_is_frozen_and_described(target: Target):
    assert not target.model.training
    assert not any(parameter.requires_grad for parameter in target.model.parameters())
    assert {parameter.dtype for parameter in target.model.parameters()} == {torch.float32}
    described = {name: target.manifest[name] for name in ("d_model", "blocks", "vocab", "source")}
    vocab = len(target.tokenizer)
    assert described == {"d_model": 64, "blocks": 12, "vocab": vocab, "source": "tiny"}
    assert target.tokenizer.pad_token == target.tokenizer.eos_token, "a trap for masks"


def test_the_tiny_target_is_always_the_same_and_draws_nothing_from_the_global_generator(
    target: Target,
):
    state = torch.get_rng_state()
    model, tokenizer = tiny_target()
    assert torch.equal(torch.get_rng_state(), state)
    assert tokenizer_digest(tokenizer) == target.manifest["tokenizer"]
    saved = target.model.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in model.state_dict().items())


def test_the_fused_norm_gives_the_same_numbers():
    torch.manual_seed(0)
    plain = LlamaRMSNorm(64, eps=1e-5)
    plain.weight.data.normal_()
    hidden = 100 * torch.randn(3, 5, 64)
    expected = plain(hidden)
    fuse_norms(plain)
    assert isinstance(plain, FusedRMSNorm)
    assert torch.allclose(plain(hidden), expected, atol=1e-5)


def test_a_missing_target_names_the_stage(tmp_path: Path):
    refused(tmp_path / "nowhere", "missing artefact")
    with pytest.raises(NlaError, match="dvc repro target"):
        load_tokenizer(tmp_path / "nowhere")


FILES = ("model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json")


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_or_lost_file_is_refused_by_name(folder: Path, name: str):
    file = folder / name
    file.write_bytes(file.read_bytes()[:100])
    refused(folder, f"{name} changed since")
    file.unlink()
    refused(folder, f"{name} lost since")


@pytest.mark.parametrize(
    ("name", "line"),
    [("model.safetensors", "damaged weights"), ("tokenizer.json", "damaged tokenizer")],
)
def test_files_that_were_damaged_from_the_start_are_one_line(folder: Path, name: str, line: str):
    """As after a manifest was written for them."""
    file = folder / name
    file.write_bytes(file.read_bytes()[:400])
    fields = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, **{n: fields[n] for n in fields if n not in MADE_BY_WRITING})
    refused(folder, line)


def test_weights_and_settings_of_another_model_are_refused(folder: Path):
    """As after a stage that ended between weights and manifest, or by hand."""
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    save_file(weights | {name: 2 * weights[name]}, folder / "model.safetensors", {"format": "pt"})
    refused(folder, r"model\.safetensors changed since its manifest was written")


def test_a_setting_of_another_model_is_refused(folder: Path):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 0.5}))
    refused(folder, r"config\.json changed since its manifest was written")


def test_nothing_of_an_earlier_target_stays(folder: Path):
    for name in ("chat_template.jinja", "model-00001-of-00002.safetensors"):
        (folder / name).write_text("of another model")
    prepare_target(TargetConfig(model="tiny"), folder)
    assert not (folder / "chat_template.jinja").exists()
    assert load_target(folder).tokenizer.chat_template is None


@pytest.mark.parametrize("stopped", ["PreTrainedModel", "PreTrainedTokenizerBase"])
def test_a_target_that_is_killed_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
):
    """Before or after its weights: the old manifest has gone before them."""

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"transformers.{stopped}.save_pretrained", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare_target(TargetConfig(model="tiny"), folder)
    refused(folder, "missing artefact")
    with pytest.raises(NlaError, match="missing artefact"):
        load_tokenizer(folder)


def test_a_target_that_cannot_be_fetched_leaves_the_old_one(folder: Path, tmp_path: Path):
    with pytest.raises(NlaError, match="no such model"):
        prepare_target(TargetConfig(model=str(tmp_path / "no-model")), folder)
    load_target(folder)


@pytest.mark.parametrize(("field", "value"), [("kind", "corpus"), ("tokenizer", "0" * 12)])
def test_a_manifest_of_something_else_is_refused(folder: Path, field: str, value: Any):
    file = folder / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    refused(folder, field)


def test_a_model_that_does_not_exist_is_one_line_with_a_remedy(tmp_path: Path):
    config = TargetConfig(model=str(tmp_path / "no-model"))
    with pytest.raises(NlaError, match="no such model") as caught:
        prepare_target(config, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "give a folder" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_local_folder_is_a_source_too(target_folder: Path, tmp_path: Path, target: Target):
    prepare_target(TargetConfig(model=str(target_folder)), tmp_path / "copy")
    copy = load_target(tmp_path / "copy")
    assert copy.manifest["source"] == str(target_folder)
    assert copy.manifest["tokenizer"] == target.manifest["tokenizer"]
    ids = torch.tensor([target.tokenizer.encode("a quiet lake")])
    assert torch.equal(copy.model(ids).logits, target.model(ids).logits)
