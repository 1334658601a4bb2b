"""A tokenizer is the same when it cuts every text alike, and only then."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer

from common.errors import NlaError
from common.manifest import read_manifest, write_manifest
from common.target.identity import tokenizer_digest
from common.target.load import load_target, load_tokenizer

SENTENCE = "The quiet river crosses the plain."
MADE_BY_WRITING = ("files", "content", "digest")


@pytest.fixture
def folder(target_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny target that a test may change."""
    return shutil.copytree(target_folder, tmp_path / "target")


def change(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads(file.read_text())
    edit(fields)
    file.write_text(json.dumps(fields))


def no_merges(fields: dict[str, Any]) -> None:
    fields["model"]["merges"] = fields["model"]["merges"][:20]


def a_prefix(fields: dict[str, Any]) -> None:
    fields["pre_tokenizer"]["add_prefix_space"] = True


def lower_case(fields: dict[str, Any]) -> None:
    fields["normalizer"] = {"type": "Lowercase"}


def other_decoder(fields: dict[str, Any]) -> None:
    fields["decoder"] = {"type": "Fuse"}


def plain_control(fields: dict[str, Any]) -> None:
    fields["added_tokens"][0]["special"] = False


def a_bos(fields: dict[str, Any]) -> None:
    fields["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [1], "tokens": ["<|im_start|>"]}
        },
    }


EDITS = (no_merges, a_prefix, lower_case, other_decoder, plain_control, a_bos)


@pytest.mark.parametrize("edit", EDITS)
def test_a_tokenizer_of_the_same_vocabulary_that_cuts_otherwise_is_refused(
    folder: Path, edit: Callable[[dict[str, Any]], None]
):
    before = AutoTokenizer.from_pretrained(folder)
    change(folder / "tokenizer.json", edit)
    after = AutoTokenizer.from_pretrained(folder)
    assert after.get_vocab() == before.get_vocab()
    if edit is no_merges:
        assert len(after.encode(SENTENCE)) > len(before.encode(SENTENCE))
    with pytest.raises(NlaError, match=r"tokenizer is not the one.*dvc repro --force target"):
        load_tokenizer(folder)
    fields = read_manifest(folder, "target")
    write_manifest(folder, **{n: fields[n] for n in fields if n not in MADE_BY_WRITING})
    with pytest.raises(NlaError, match=r"tokenizer is not the one.*dvc repro --force target"):
        load_target(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("eos_token", "<|endoftext|>"), ("chat_template", "{{ messages }}")]
)
def test_other_roles_and_another_template_are_refused(folder: Path, name: str, value: str):
    change(folder / "tokenizer_config.json", lambda fields: fields.update({name: value}))
    with pytest.raises(NlaError, match="tokenizer is not the one"):
        load_tokenizer(folder)


def test_what_is_saved_and_loaded_again_and_used_is_the_same(folder: Path, tmp_path: Path):
    tokenizer = load_tokenizer(folder)
    digest = read_manifest(folder, "target")["tokenizer"]
    assert tokenizer_digest(tokenizer) == digest
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    again([SENTENCE, "a"], padding=True, truncation=True, max_length=3)
    assert tokenizer_digest(again) == digest


def test_a_tokenizer_without_a_fast_backend_has_a_digest(tmp_path: Path):
    tokenizer = ByT5Tokenizer()
    assert getattr(tokenizer, "backend_tokenizer", None) is None
    tokenizer.save_pretrained(tmp_path / "bytes")
    digest = tokenizer_digest(tokenizer)
    assert digest == tokenizer_digest(AutoTokenizer.from_pretrained(tmp_path / "bytes"))
    assert digest != tokenizer_digest(ByT5Tokenizer(extra_ids=50))
    assert digest != tokenizer_digest(ByT5Tokenizer(unk_token="<pad>"))
