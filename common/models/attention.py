"""A model's attention exchanged for one of ours, for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attending(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[str]:
    """Within this context the model attends with `attend`; gives the name of its usual attention.

    `name` is what transformers knows `attend` by: one for each function.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(name, attend)
    usual = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield usual
    finally:
        model.config._attn_implementation = usual
