"""A tokenizer's identity: all that decides how text becomes ids and back, in twelve digits."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.manifest import digest_of, file_digest
from common.target.text import beginning

OF_A_CALL = ("truncation", "padding")
"""Settings that the last call left in a fast tokenizer, not part of its identity."""
OF_A_PLACE = ("name_or_path", "_file", "is_local", "backend", "model_max_length")
"""Endings of settings about where a tokenizer came from, how it was loaded, or warnings."""


def tokenizer_digest(tokenizer: Any) -> str:
    """12 hex digits on which a template or an AR must agree.

    They cover the vocabulary, merges and rules, what is put before a text, the control tokens and
    the chat template, and do not change when the tokenizer is saved and loaded again.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    named = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id")
    return digest_of(
        {
            "rules": _rules(tokenizer) if backend is None else _serialised(backend),
            "beginning": beginning(tokenizer),
            "named": [getattr(tokenizer, name) for name in named],
            "special": sorted(tokenizer.all_special_ids),
            "chat_template": tokenizer.chat_template,
        }
    )


def _serialised(backend: Any) -> dict[str, Any]:
    """The whole state of a fast tokenizer."""
    whole = json.loads(backend.to_str(), object_hook=_switched_on)
    return {name: part for name, part in whole.items() if name not in OF_A_CALL}


def _rules(tokenizer: Any) -> dict[str, Any]:
    """The whole state of a tokenizer in Python: class, settings, vocabulary and its files."""
    with TemporaryDirectory() as folder:
        files = [Path(file) for file in tokenizer.save_vocabulary(folder) or () if file]
        digests = {file.name: file_digest(file) for file in files}
    settings = _switched_on(tokenizer.init_kwargs).items()
    return {
        "class": type(tokenizer).__name__,
        "settings": {n: str(value) for n, value in settings if not n.endswith(OF_A_PLACE)},
        "vocabulary": tokenizer.get_vocab(),
        "files": digests,
    }


def _switched_on(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that are off, since new releases add switches (off by default)."""
    return {n: value for n, value in fields.items() if value is not None and value is not False}
