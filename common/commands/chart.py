"""Print or draw an AR that a person can follow."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from common.commands.asked import profile_asked, profile_read
from common.commands.places import named_run
from common.errors import NlaError


@runtime_checkable
class Drawable(Protocol):
    """An AR that has a picture."""

    def pictures(self, title: str, texts: Sequence[str], variance: float) -> dict[str, str]:
        """{`text`, `svg`: the picture}, with shares among some texts."""
        ...


def chart(run: str, profile: str | None, form: str) -> str:
    """The picture of a run's AR, with its shares among the test explanations of its own AV.

    NlaError for an AR that has none.
    """
    folder = named_run(profile_read(profile).name, run)
    scale = profile_asked(profile)
    from common.commands.pair import arm_of, tests_of
    from common.schema import AV

    arm = arm_of(folder, scale)
    model = arm.test_pair(folder)[1]
    if not isinstance(model, Drawable):
        what = f"the AR of this run, a {type(model).__name__}, cannot be drawn"
        remedy = "name a run of an arm that is a chart, such as ar_flowchart/chart/0"
        raise NlaError(what, where=folder.path, remedy=remedy)
    tests = tests_of(folder, arm)
    own = folder.table(folder.texts_file) if folder.texts_file.exists() else None
    texts = (tests.written_by(AV) if own is None else tests.written_in(own)).test
    return model.pictures(run, texts, tests.variances()[0])[form]
