"""Random results whose decisions lie near their thresholds, the same each time."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from common.report.results import MEASURES_SCHEMA, ROWS_SCHEMA, RUNS_SCHEMA, Results
from common.schema import AV, AV_NEUTRAL_AR, TEACHER

DOCUMENTS, POSITIONS, COUNT = 24, (20, 40), 8
SIZES = {
    "control": 9_000_000,
    "blocks_4": 4_000_000,
    "blocks_2": 2_000_000,
    "blocks_1": 1_000_000,
    "bag_of_words": 500_000,
}
FLOORS = ("tfidf_ridge", "embedding_ridge", "own_blocks")
POLICIES = ("control", "blocks_2", "blocks_1", "bag_of_words", "warm_start")
LEARNERS = ("control", "frozen_ar", "frozen_av", "warm_start")


class Draw:
    """Rows and measures of one scenario; documents share most of their noise."""

    def __init__(self, name: str, number: int) -> None:
        """Nothing is drawn yet."""
        self.generator = np.random.default_rng([number, *name.encode()])
        self.shared = self.generator.normal(0, 0.2, DOCUMENTS)
        self.rows: list[dict] = []
        self.measures: list[dict] = []

    def around(self, center: float, spread: float = 0.05) -> float:
        """A level of an arm."""
        return float(self.generator.normal(center, spread))

    def errors(self, arm: str, seed: int, source: str, transform: str, fve: float) -> None:
        """Squared errors of variance 1; one activation in nine could not be transformed."""
        for index, (key, document, noise) in enumerate(self._items()):
            applied = transform == "original" or index % 9 > 0
            row = {"arm": arm, "seed": seed, "key": key, "doc_id": document, "source": source}
            row |= {"transform": transform, "applied": applied, "cosine": 0.5}
            self.rows.append(row | {"squared_error": 1 - fve + noise})

    def measure(self, arm: str, seed: int, name: str, level: float, noise: float = 1.0) -> None:
        """A measure of an arm's own texts."""
        for key, document, wiggle in self._items():
            row = {"arm": arm, "seed": seed, "key": key, "cluster": document, "measure": name}
            self.measures.append(row | {"value": level + noise * wiggle})

    def results(self, experiment: str, arms: Sequence[str], floors: Sequence[str] = ()) -> Results:
        """What was drawn."""
        facts = {"profile": "test", "experiment": experiment, "arms": list(arms)}
        facts |= {"floors": list(floors), "ceilings": ["own_blocks"]}
        return Results(
            facts=facts | {"variance": 1.0, "resamples": 200},
            text_metrics={},
            rows=pl.DataFrame(self.rows, schema=ROWS_SCHEMA),
            measures=pl.DataFrame(self.measures, schema=MEASURES_SCHEMA),
            runs=pl.DataFrame(_runs(arms), schema=RUNS_SCHEMA),
        )

    def _items(self) -> list[tuple[str, str, float]]:
        own = self.generator.normal(0, 0.05, DOCUMENTS)
        return [
            (f"{document}:{position}", str(document), float(self.shared[document] + own[document]))
            for document in range(DOCUMENTS)
            for position in POSITIONS
        ]


def sizes_of_ars(number: int) -> Results:
    """`ar_small`: depths, a bag of words and floors; two seeds."""
    draw = Draw("ar_small", number)
    transforms = ("verbatim_stripped", "verbatim_random_stripped")
    transforms += ("quotes_stripped", "random_stripped")
    for source in (TEACHER, AV):
        levels = {arm: draw.around(0.47, 0.03) for arm in SIZES}
        lost = {arm: draw.around(0.0, 0.05) for arm in SIZES}
        for arm in SIZES:
            for seed in (0, 1):
                level = levels[arm] + draw.around(0, 0.005)
                draw.errors(arm, seed, source, "original", level)
                for transform in transforms:
                    less = 0.1 + (0 if "random" in transform else lost[arm])
                    draw.errors(arm, seed, source, transform, level - less)
    for floor, level in zip(FLOORS, (0.1, 0.41 + 0.03 * (number % 3), 1.0), strict=True):
        draw.errors(floor, 0, AV, "original", level)
    return draw.results("ar_small", list(SIZES), FLOORS)


def policies(number: int) -> Results:
    """`ar_small_rl`: AVs against weaker ARs, and the one before; three seeds."""
    draw = Draw("ar_small_rl", number)
    levels = {
        arm: (draw.around(0.4), draw.around(0.3), draw.around(0.05, 0.005)) for arm in POLICIES
    }
    if number % 2:  # a clear case
        levels["blocks_1"] = (0.7, 0.1, 0.04)
    for arm, (fve, quotes, copied) in levels.items():
        for seed in range(3):
            _policy(draw, arm, seed, fve, {"quote_share": quotes, "verbatim_4gram_share": copied})
    found = draw.results("ar_small_rl", POLICIES)
    stopped = {"blocks_2/1": "why"} if number == 3 else {}
    return found._replace(facts=found.facts | {"stopped_early": stopped})


def learners(number: int) -> Results:
    """`baseline`: who learns; the frozen arms have one seed of three."""
    draw = Draw("baseline", number)
    centers: Mapping[str, float] = dict(zip(LEARNERS, (0.5, 0.46, 0.42, 0.4), strict=True))
    for arm, center in centers.items():
        fve, copied = draw.around(center), draw.around(0.1, 0.02)
        for seed in range(1 if "frozen" in arm and number % 2 else 3):
            _policy(draw, arm, seed, fve, {"verbatim_4gram_share": copied})
    return draw.results("baseline", LEARNERS)


def _policy(draw: Draw, arm: str, seed: int, fve: float, measures: dict[str, float]) -> None:
    drift = draw.around(0, 0.01)
    draw.errors(arm, seed, AV, "original", fve + drift)
    draw.errors(arm, seed, AV_NEUTRAL_AR, "original", fve - 0.1 + 2 * drift)
    for name, level in measures.items():
        noise = 0.02 if name.startswith("verbatim") else 0.3
        draw.measure(arm, seed, name, level + drift * noise, noise)


def _runs(arms: Sequence[str]) -> list[dict]:
    return [
        {"arm": arm, "seed": 0, "trainable_parameters": SIZES.get(arm, 9_000_000)} for arm in arms
    ]


SCENARIOS = {"ar_small": sizes_of_ars, "ar_small_rl": policies, "baseline": learners}
