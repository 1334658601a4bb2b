"""Paraphrases by a language model: no word of a quote remains, but the meaning should."""

from collections.abc import Sequence
from pathlib import Path

from common.config import TeacherConfig
from common.data.api import ask

INSTRUCTIONS = """\
Say the text in other words. Keep every fact, in any order, at about the same length. Do not quote:
where the text quotes words, describe them so that a reader could guess them, without repeating any.
Put the new text between <explanation> and </explanation> and write nothing after it."""


def api_paraphrases(
    texts: Sequence[str], config: TeacherConfig, cache_folder: Path
) -> list[str | None]:
    """One paraphrase per text, None without a usable answer; errors as in `common.data.api.ask`."""
    return ask(
        [
            [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": text}]
            for text in texts
        ],
        config,
        cache_folder,
    )
