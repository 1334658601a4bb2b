"""The prompts of AV and AR, one object each, so that training, rollout and export agree."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from jinja2 import TemplateError

from common.errors import NlaError
from common.manifest import digest_of
from common.target.text import beginning, encode

MARKERS = (
    "<repo_name>",
    "<|fim_pad|>",
    "<|object_ref_start|>",
    "<|reserved_special_token_0|>",
    "<unused0>",
)
"""Tokens that real text does not use; one of them marks where a vector is injected."""

DAY = "01 Jan 2026"
ANY_DAY = f"{{% macro strftime_now(form) %}}{DAY}{{% endmacro %}}"
"""Chat templates that ask for today's date always get this one."""
SYSTEM = "You put concepts into words."
OPENING, CLOSING = "<concept>", "</concept>"
REQUEST = "Explain this concept: {opening}{markers}{closing}"
SUMMARY_BEFORE, SUMMARY_AFTER = "Summary of the following text: <text>", "</text> <summary>"


@dataclass(frozen=True)
class AVTemplate:
    """The AV's fixed prompt: token ids, and the columns of the slots where vectors are injected."""

    prompt_ids: tuple[int, ...]
    slot_columns: tuple[int, ...]
    end_id: int
    """The token that ends an explanation."""

    @classmethod
    def of(cls, tokenizer: Any, slots: int = 1) -> "AVTemplate":
        """The template for a tokenizer; NlaError when it has no unused token to mark the slot."""
        marker = _marker(tokenizer)
        request = REQUEST.format(opening=OPENING, markers=marker * slots, closing=CLOSING)
        chat = tokenizer.encode(_as_chat(tokenizer, request), add_special_tokens=False)
        before = beginning(tokenizer)
        prompt = tuple(chat if chat[: len(before)] == before else [*before, *chat])
        columns = slot_columns(prompt, tokenizer, slots)
        if tokenizer.eos_token_id is None:
            remedy = "set `eos_token` in the model's tokenizer_config.json"
            what = "the tokenizer has no token that ends a text (EOS)"
            raise NlaError(what, where="target.model", remedy=remedy)
        return cls(prompt, columns, tokenizer.eos_token_id)

    def digest(self) -> str:
        """Asserted wherever AV weights or AV texts are read."""
        return digest_of([self.prompt_ids, self.slot_columns, self.end_id])


@dataclass(frozen=True)
class ARTemplate:
    """The tokens before and after an explanation in the AR's input."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Any) -> "ARTemplate":
        """The template for a tokenizer."""
        before, after = encode(tokenizer, [SUMMARY_BEFORE, SUMMARY_AFTER])
        return cls((*beginning(tokenizer), *before), tuple(after))

    def digest(self) -> str:
        """Asserted wherever AR weights are read."""
        return digest_of([self.before, self.after])


def slot_columns(prompt: tuple[int, ...], tokenizer: Any, slots: int) -> tuple[int, ...]:
    """Columns of the run of markers, found by its id *and* by the `<concept>` tags around it.

    A marker elsewhere (a user's text may contain one) is not mistaken for a slot.
    """
    marker = tokenizer.convert_tokens_to_ids(_marker(tokenizer))
    starts = [
        start
        for start in range(len(prompt) - slots + 1)
        if set(prompt[start : start + slots]) == {marker}
        and tokenizer.decode(prompt[:start]).endswith(OPENING)
        and tokenizer.decode(prompt[start + slots :]).startswith(CLOSING)
    ]
    assert len(starts) == 1, f"{len(starts)} slot runs in the AV prompt, expected 1"
    return tuple(range(starts[0], starts[0] + slots))


def _marker(tokenizer: Any) -> str:
    vocabulary = tokenizer.get_vocab()
    for marker in MARKERS:
        if marker in vocabulary and tokenizer.encode(marker, add_special_tokens=False) == [
            vocabulary[marker]
        ]:
            return marker
    raise NlaError(
        "the tokenizer has no unused token for the slot",
        where=f"tried {MARKERS}",
        remedy="add yours to MARKERS in common/models/templates.py",
    )


def _as_chat(tokenizer: Any, request: str) -> str:
    """The request as one chat turn; models without a chat template get ChatML.

    Templates that write today's date always get the same one: the AV is trained on one fixed
    prompt.
    """
    if tokenizer.chat_template is None:
        return f"<|im_start|>user\n{request}<|im_end|>\n<|im_start|>assistant\n"
    system, user = {"role": "system", "content": SYSTEM}, {"role": "user", "content": request}
    fill = partial(
        tokenizer.apply_chat_template,
        tokenize=False,
        add_generation_prompt=True,
        chat_template=f"{ANY_DAY}{tokenizer.get_chat_template()}",
        date_string=DAY,
    )
    try:
        return fill([system, user])
    except TemplateError:  # some templates accept no system message
        return fill([user])
