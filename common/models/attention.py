"""Replace a model's attention by our own for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from common.errors import NlaError


@contextmanager
def attending(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[str]:
    """Within this context the model attends with `attend`; yields the name of its usual attention.

    `name` is the name under which transformers knows `attend`; each function has its own.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(name, attend)
    usual = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield usual
    finally:
        model.config._attn_implementation = usual


def check_window(sliding_window: int | None, tokens: int) -> None:
    """NlaError when a text is longer than a block's attention window, which ours does not apply."""
    if sliding_window is not None and tokens > sliding_window:
        what = f"prompt and explanation have {tokens} tokens, the model sees {sliding_window}"
        remedy = "lower max_explanation_tokens of av and ar, or choose a model with a wider window"
        raise NlaError(what, remedy=remedy)
