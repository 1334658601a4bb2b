"""Monitors of a policy's samples, and when a run is so bad that it should end."""

from torch import Tensor

from common.metrics.degeneration import degeneration, sameness
from common.metrics.quotes import quote_share
from common.rollout.engine import Rollouts

COLLAPSED_ROLLOUTS = 10
"""A run ends after this many rollouts in a row with the same sign of collapse."""
FEWEST_VALID, MOST_REPETITION, MOST_SAMENESS, LOWEST_FVE = 0.5, 0.5, 0.9, -1.0
"""Explanations of unrelated activations have an FVE of about -0.6."""
INVALID = "fewer than half of the explanations were valid"
REPETITIVE = "most of what the explanations say they had said before"
SAME = "explanations of different activations said the same"
UNREADABLE = f"the AR read the explanations with an FVE below {LOWEST_FVE:g}"
SIGNS = ("valid", "repetition", "sameness", "fve")


def monitors(
    rollouts: Rollouts, texts: list[str], rewards: Tensor, valid: Tensor, samples: int, room: int
) -> dict[str, Tensor | float]:
    """Monitors of one step's samples, with rows as in `rollouts`; `room` is the most tokens of one.

    They are those of `degeneration`, and others of rewards, groups and tokens.
    """
    grouped = rewards.view(-1, samples)
    health = degeneration(texts, rollouts.mask.sum(1).tolist(), room)
    return health | {
        "cap_hit": 1 - float(rollouts.ended.float().mean()),
        "sameness": sameness(texts[::samples]),
        "reward": rewards.mean(),
        "reward_spread": grouped.std(1, correction=0).mean(),
        "valid": valid.float().mean(),
        "lost_groups": 1 - valid.view(-1, samples).any(1).float().mean(),
        "entropy": -rollouts.log_probs.sum() / rollouts.mask.sum(),
        "quote_share": sum(map(quote_share, texts)) / len(texts),
    }


class CollapseDetector:
    """Signs of collapse, and for how many consecutive rollouts each has been seen."""

    def __init__(self, av_learns: bool) -> None:
        """An AV that does not learn cannot collapse, whatever it writes; its AR can."""
        watched = (INVALID, REPETITIVE, SAME) if av_learns else ()
        self.counts = dict.fromkeys((*watched, UNREADABLE), 0)

    def update(self, valid: float, repetition: float, sameness: float, fve: float) -> str:
        """Why the run should end, or "".

        The values are of one rollout: the share of valid explanations, the shares of word 3-grams
        that occur earlier in the same explanation, or in that of another activation, and the FVE of
        the AR that learns, over the dev variance.
        """
        signs = {
            INVALID: valid < FEWEST_VALID,
            REPETITIVE: repetition > MOST_REPETITION,
            SAME: sameness > MOST_SAMENESS,
            UNREADABLE: fve < LOWEST_FVE,
        }
        for name, times in self.counts.items():
            self.counts[name] = times + 1 if signs[name] else 0
        for name, times in self.counts.items():
            if times >= COLLAPSED_ROLLOUTS:
                return f"collapsed: {name} in {COLLAPSED_ROLLOUTS} rollouts in a row"
        return ""
