"""Which trunk: the artefacts that experiments share, or an experiment's own version of them.

A profile has one trunk: target, corpus, activations, explanations, and for each pair an AV, its
texts, and an AR. An experiment may name further trunks in its params.yaml, which replace parts of
the profile (another layer, another teacher's format, more slots). Such a trunk makes its own
artefacts from the first stage that differs; those of earlier stages are the profile's. What it
replaces of a section that no stage reads (seeds, rollouts) is for its arms.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from common.paths import TrunkPlaces
from common.profile import Profile


class TrunkChoice(NamedTuple):
    """A trunk: the profile with its changes, and where its artefacts lie."""

    profile: Profile
    places: TrunkPlaces


SECTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "target": (("target",), ()),
    "corpus": (("corpus",), ()),
    "activations": (("activations",), ("target", "corpus")),
    "last_tokens": (("activations",), ("activations",)),
    "explanations": (("teacher",), ("activations", "corpus")),
    "av": (("av", "trainer", "warm_starts"), ("explanations",)),
    "av_text": (("rollout", "ar.av_examples"), ("av",)),
    "ar": (("ar", "trainer", "warm_starts"), ("explanations", "av_text")),
    "floors": (("ar", "evaluation"), ("av_text", "last_tokens")),
}
"""Stage → the parts of the profile that it reads, and the stages that it follows."""


Replaced = Mapping[str, Any]
"""Section of a profile → its keys that are replaced; or a number of the profile → the new one."""


def stages_of_its_own(replaced: Replaced) -> list[str]:
    """The stages that a trunk makes itself: those that read what it replaces, and what follows."""
    changed = {
        f"{name}.{key}" if key else name
        for name, new in replaced.items()
        for key in (new if isinstance(new, Mapping) else [""])
    }
    own: list[str] = []
    for stage, (sections, after) in SECTIONS.items():
        reads = any(name == s or name.startswith(f"{s}.") for name in changed for s in sections)
        if reads or any(earlier in own for earlier in after):
            own.append(stage)
    return own


def choose_trunk(profile: Profile, name: str = "", replaced: Replaced | None = None) -> TrunkChoice:
    """The profile's own trunk, or one that replaces keys of some sections of it, or its numbers.

    ValueError (pydantic's) for a section or key that a profile does not have, or a bad value.
    """
    if not replaced:
        return TrunkChoice(profile, TrunkPlaces(profile.name))
    changes = {
        part: getattr(profile, part).replace(**new) if isinstance(new, Mapping) else new
        for part, new in replaced.items()
    }
    own = stages_of_its_own(replaced)
    return TrunkChoice(profile.replace(**changes), TrunkPlaces(profile.name, name, own))
