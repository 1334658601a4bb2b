"""The real command, run in the process of the tests."""

import sys
from collections.abc import Callable

import pytest

from common import cli

Refusal = Callable[..., str]


def end_of(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    """Exit status of `nla <arguments>`."""
    monkeypatch.setattr(sys, "argv", ["nla", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code
