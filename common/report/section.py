"""What an experiment adds to its report; light, because experiments are imported by every run."""

from typing import Any, NamedTuple


class Drawing(NamedTuple):
    """A figure that an experiment adds; `name` becomes `<name>.png`."""

    name: str
    caption: str
    figure: Any
    """A matplotlib Figure."""
    on_page: bool = True
    """Whether it may stand on the page, beside the FVE; if not, in the details alone."""


class Section(NamedTuple):
    """What an experiment adds to its report, in Markdown of its own."""

    title: str
    markdown: str
    drawings: tuple[Drawing, ...] = ()
