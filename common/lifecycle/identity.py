"""What names an arm: to a user, the command that makes it; to a digest, the code that it runs."""

from common.arms.arm import Arm
from common.code import code_digest
from common.paths import NEUTRAL, WARM_START


def code_of(arm: Arm) -> dict[str, str]:
    """Digests of the code that the arm is trained and tested with."""
    trained = code_digest(*arm.modules, tests=False)
    return {"trained": trained, "tested": code_digest(*arm.modules) if arm.has_test else trained}


def command(arm: Arm) -> str:
    """The command that makes a run of an arm."""
    plan, profile = arm.plan, arm.profile.name
    if plan.experiment == WARM_START:
        stage = plan.name.rpartition(".")[2]
        return f"dvc repro {plan.trunk.places.made_by(stage)}"
    if plan.experiment == NEUTRAL:
        return f"nla evaluate {plan.name} {NEUTRAL} --profile {profile}"
    return f"nla run {arguments(arm)}"


def arguments(arm: Arm) -> str:
    """The arguments of `nla run` and `nla sweep` that name an arm."""
    return f"{arm.plan.experiment} --arm {arm.name} --profile {arm.profile.name}"
