"""The trunks that experiments name in their params.yaml; found without heavy imports."""

from collections.abc import Mapping

from common.config_base import Config
from common.config_file import validated
from common.errors import NlaError
from common.params import load_params
from common.paths import EXPERIMENTS
from common.profile import Profile
from common.trunk.choice import TrunkChoice, choose_trunk


def trunk_named(name: str, profile: Profile) -> TrunkChoice:
    """`<experiment>/<trunk>` at a profile, or, for an empty name, the profile's own.

    NlaError for an unknown trunk, section or key, or for values that contradict one another.
    """
    if not name:
        return choose_trunk(profile)
    experiment, _, trunk = name.partition("/")
    params, where = load_params(experiment), EXPERIMENTS / experiment / "params.yaml"
    if trunk not in params.trunks:
        remedy = f"choose one of {', '.join(params.trunks) or 'none: there is no trunk'}"
        raise NlaError(f"unknown trunk {trunk!r}", where=where, remedy=remedy)
    replaced = params.trunks[trunk]
    changes = {}
    for part, new in replaced.items():
        before = getattr(profile, part) if part in Profile.model_fields else None
        if isinstance(before, Config) and isinstance(new, Mapping):
            changes[part] = {**before.model_dump(), **new}
        elif isinstance(before, int) and isinstance(new, int):
            changes[part] = new
        else:
            remedy = "name a section of the profile and its keys that are to differ, or a number"
            raise NlaError(f"trunks.{trunk}.{part}", where=where, remedy=remedy)
    validated(Profile, profile.model_dump() | changes, where, ("trunks", trunk))
    return choose_trunk(profile, name, replaced)
