"""When reinforcement learning has gone wrong, so that going on is a waste."""

UNWELL_STEPS = 10
"""So many rollouts in a row with the same sign of collapse end a run."""
FEWEST_VALID, MOST_REPETITION, LOWEST_FVE = 0.5, 0.5, -1.0
"""Explanations of unrelated activations have an FVE of about -0.6."""
SPEECHLESS = "fewer than half of the explanations were valid"
REPETITIVE = "most of what the explanations say they had said before"
UNREADABLE = f"the AR read the explanations with an FVE below {LOWEST_FVE:g}"


class Health:
    """Signs of collapse, and for how many rollouts each has been seen without a break."""

    def __init__(self, speaker_learns: bool) -> None:
        """An AV that does not learn cannot collapse, whatever it says; its AR can."""
        watched = (SPEECHLESS, REPETITIVE, UNREADABLE) if speaker_learns else (UNREADABLE,)
        self.in_a_row = dict.fromkeys(watched, 0)

    def see(self, valid: float, repetition: float, fve: float) -> str:
        """Why the run should end, or "".

        Of one rollout: the share of valid explanations, of word 3-grams that stand earlier in the
        same explanation, and the FVE of the AR that learns along, over the dev variance.
        """
        signs = {
            SPEECHLESS: valid < FEWEST_VALID,
            REPETITIVE: repetition > MOST_REPETITION,
            UNREADABLE: fve < LOWEST_FVE,
        }
        for name, times in self.in_a_row.items():
            self.in_a_row[name] = times + 1 if signs[name] else 0
        for name, times in self.in_a_row.items():
            if times >= UNWELL_STEPS:
                return f"collapsed: {name} in {UNWELL_STEPS} rollouts in a row"
        return ""
