"""What a run would be made with now, and whether it was made with that."""

from typing import Any

from common.arms.arm import Arm
from common.errors import NlaError
from common.lifecycle.identity import code_of, command
from common.lifecycle.tune import NOTHING_TUNED, known, sweep_of
from common.runs import MadeWith, RunFolder
from common.tuning.study import Best


def made_with(arm: Arm, seed: int, best: Best = NOTHING_TUNED) -> MadeWith:
    """All that a run of this seed depends on, with the values that tuning chose."""
    trained = arm.trained_with(seed) | {"seed": seed}
    if arm.plan.search:
        trained |= {"tuned": chosen(arm, best).decisive()}
        trained |= {"study": sweep_of(arm).name}
    return MadeWith(trained, arm.tested_with(), code_of(arm), command(arm))


def chosen(arm: Arm, best: Best) -> Any:
    """The settings that are tuned, with the best values."""
    return arm.tuned.replace(**best.params) if arm.tuned else None


def check_run(arm: Arm, seed: int) -> RunFolder:
    """A finished run of an arm; NlaError when it is unfinished or its settings or data differ now.

    The code is not compared: a run that older code has trained is still a valid input.
    """
    return _checked(arm, seed, ignored=["code"])


def check_current(arm: Arm, seed: int) -> RunFolder:
    """A finished run; NlaError also when other code has made it."""
    return _checked(arm, seed, ignored=[])


def _checked(arm: Arm, seed: int, ignored: list[str]) -> RunFolder:
    folder, remedy = arm.run_folder(seed), command(arm)
    if not folder.config_file.exists():
        raise NlaError("this run has not been made", where=folder.path, remedy=remedy)
    best = known(arm) or _as_run(folder, arm)
    if changed := [n for n in folder.differs_from(made_with(arm, seed, best)) if n not in ignored]:
        what = f"a run of other {', '.join(changed)} than today's"
        raise NlaError(what, where=folder.path, remedy=remedy)
    if not folder.summary_file.exists():
        raise NlaError("unfinished run", where=folder.path, remedy=remedy)
    folder.check_whole()
    return folder


def _as_run(folder: RunFolder, arm: Arm) -> Best:
    """The values that a run was made with, if its study is not on this machine."""
    tuned = folder.config.get("trained", {}).get("tuned") or {}
    return Best({name: tuned[name] for name in arm.plan.search if name in tuned}, (), 0, 0)
