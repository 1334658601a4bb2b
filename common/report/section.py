"""What an experiment adds to its report; imports nothing heavy, since every run imports it."""

from typing import Any, NamedTuple


class Drawing(NamedTuple):
    """A figure that an experiment adds: the file `<name>.png`, or `.svg`."""

    name: str
    caption: str
    figure: Any
    """A matplotlib Figure, or the text of an SVG file."""
    on_page: bool = True
    """Whether it may be on the page, beside the FVE; if not, only in the details."""

    @property
    def file(self) -> str:
        """Its name in the report's folder."""
        return f"{self.name}.{'svg' if isinstance(self.figure, str) else 'png'}"


class Section(NamedTuple):
    """A section that an experiment adds to its report, in its own Markdown."""

    title: str
    markdown: str
    drawings: tuple[Drawing, ...] = ()
    on_page: bool = False
    """Whether it is on the page, behind the figures, and not in the details. It has no drawings
    then: those of other sections may be on the page too."""
