"""What an experiment adds to its report; imports nothing heavy, since every run imports it."""

from typing import Any, NamedTuple


class Drawing(NamedTuple):
    """A figure that an experiment adds; `name` becomes `<name>.png`."""

    name: str
    caption: str
    figure: Any
    """A matplotlib Figure."""
    on_page: bool = True
    """Whether it may be on the page, beside the FVE; if not, only in the details."""


class Section(NamedTuple):
    """A section that an experiment adds to its report, in its own Markdown."""

    title: str
    markdown: str
    drawings: tuple[Drawing, ...] = ()
