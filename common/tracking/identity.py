"""Which run a folder holds, in the words that MLflow's pages show; read off its path alone."""

from typing import NamedTuple

from common.paths import NEUTRAL, WARM_START
from common.runs import RunFolder

SEED, TRIAL, WARM, ARM, REPORT = "seed", "trial", "warm start", "arm", "report"
"""Kinds of runs, beside NEUTRAL: ARM is what the runs of an arm nest under."""
FINAL = (SEED, WARM)
"""Kinds that an arm's means are taken over."""


class Identity(NamedTuple):
    """A run, or an arm."""

    profile: str
    experiment: str
    """Of MLflow, too."""
    arm: str
    kind: str
    number: str = ""
    """Of the seed or the trial."""

    @property
    def name(self) -> str:
        """`control s0`, `control trial 3`, `av pair 0`; `control (smoke)` for an arm.

        What lies in no other run names its profile: an experiment in MLflow holds them all.
        """
        names = {
            SEED: f"{self.arm} s{self.number}",
            TRIAL: f"{self.arm} trial {self.number}",
            WARM: f"{self.arm} pair {self.number}",
            ARM: f"{self.arm} ({self.profile})",
            NEUTRAL: f"neutral AR ({self.profile})",
            REPORT: f"report ({self.profile})",
        }
        return names[self.kind]

    @property
    def parent(self) -> "Identity | None":
        """The arm; None for a run that belongs to several."""
        return self._replace(kind=ARM, number="") if self.kind in (*FINAL, TRIAL) else None

    @property
    def tags(self) -> dict[str, str]:
        """Columns of the page of runs."""
        tags = {"profile": self.profile, "experiment": self.experiment, "kind": self.kind}
        if self.arm:
            tags["arm"] = self.arm
        if self.number:
            tags["trial" if self.kind == TRIAL else "seed"] = self.number
        return tags


def identity_of(folder: RunFolder) -> Identity:
    """The run of a folder; a neutral AR belongs to the experiment whose texts it reads."""
    profile, experiment, arm, seed = folder.identity
    if experiment == NEUTRAL:
        return Identity(profile, arm, NEUTRAL, NEUTRAL)
    if experiment == WARM_START:
        return Identity(profile, experiment, arm, WARM, seed)
    before, _, number = seed.partition("-")
    if before == "trial":
        return Identity(profile, experiment, arm, TRIAL, number)
    return Identity(profile, experiment, arm, SEED, seed)
