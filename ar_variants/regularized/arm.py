"""Arms whose AR is handicapped while it learns."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from ar_variants.regularized.changed import UNSEEN_PHRASES, as_fields, changed
from ar_variants.regularized.cures import Cures
from ar_variants.regularized.noisy import Noise, NoisyReconstructor
from common.arms.arm import ArmPlan
from common.arms.reconstructor import ReconstructorArm
from common.config import ARConfig
from common.data.batches import Example
from common.evaluation.transforms import reworded
from common.models.reconstructor import Reconstructor
from common.schema import Reading
from common.trunk.artefacts import Trunk

KEPT = ("paraphrase", "quotes_only", "quotes_stripped")
"""Of the usual changes of a text those that its tests ask for, beside swaps."""


class CuredConfig(ARConfig):
    """The profile's `ar`, and the factor of all strengths, which is what a study searches."""

    strength: float = Field(default=1.0, gt=0)


class CuredSettings(Cures):
    """An arm's cures, and where its study begins."""

    strength: float = Field(default=1.0, gt=0)
    """Factor of all strengths."""


class RegularizedArm(ReconstructorArm):
    """Trains the published AR with cures; without any it is the control, and nothing is searched.

    It is validated on texts that arrive unchanged and on the same in other words and another
    format: half of `dev_fve` is for reading what it knows, half for what it does not.
    """

    settings_class = CuredSettings
    settings: CuredSettings

    def __init__(self, plan: ArmPlan) -> None:
        """A control has no strength to search."""
        is_cured = any(value for name, value in plan.settings if name in Cures.model_fields)
        super().__init__(plan if is_cured else replace(plan, search={}))

    @property
    def tuned(self) -> CuredConfig:
        """The profile's `ar`, at the arm's strength."""
        own = {"strength": self.settings.strength}
        return CuredConfig.model_validate(self.profile.ar.model_dump() | own)

    @property
    def cures(self) -> Cures:
        """The cures at the arm's strength."""
        values = self.settings.model_dump(exclude={"strength"})
        return Cures.model_validate(values).scaled(self.settings.strength)

    def at(self, strength: float) -> "RegularizedArm":
        """This arm with another strength."""
        other = type(self)(self.plan)
        other.settings = self.settings.replace(strength=strength)
        other._trunks = self._trunks
        return other

    def train(self, run: Any, config: Any, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """With the strength that tuning has chosen."""
        chosen = self.at(config.strength)
        model, facts = super(RegularizedArm, chosen).train(run, config, seed, trial)
        return model, facts | {"strength": config.strength}

    def build(self, trunk: Trunk) -> Reconstructor:
        """The published AR, with noise in training where a cure asks for it."""
        cures, target = self.cures, trunk.target
        limit = self.profile.ar.max_explanation_tokens
        parts = target.model, target.tokenizer, trunk.layer + 1, limit
        noise = Noise(cures.dropout, cures.embedding_noise, cures.shrink)
        return NoisyReconstructor(*parts, noise, trunk.mean)

    def readings(self, trunk: Trunk, plan: list[list[Example]], seed: int) -> list[list[Example]]:
        """The texts as they arrive; one that is read again arrives in another way."""
        return [
            self._arrived(batch, (seed, number))
            for number, batch in enumerate(super().readings(trunk, plan, seed))
        ]

    def dev_readings(self, trunk: Trunk, plan: list[list[Example]]) -> list[list[Example]]:
        """Every other text is changed, in ways that no cure knows."""
        return [
            [_unlike(one) if place % 2 else one for place, one in enumerate(batch)]
            for batch in super().dev_readings(trunk, plan)
        ]

    def test_conditions_by(self, tests: Any, source: str) -> Any:
        """Also in other words, another order, another format; without holes and cuts."""
        from common.evaluation.conditions import ORIGINAL
        from common.evaluation.roundtrip import WHOLE

        every = super().test_conditions_by(tests, source)
        asked = {
            name: texts
            for name, texts in every.items()
            if name in (*WHOLE, *KEPT) or name.startswith("swap_")
        }
        return asked | changed(every[ORIGINAL], tests.keys)

    def _arrived(self, batch: list[Example], place: tuple[int, int]) -> list[Example]:
        texts, keys = [one.text.text for one in batch], [f"{place} {one.key}" for one in batch]
        arrived = self.cures.channel(texts, keys)
        return [_with_text(one, text) for one, text in zip(batch, arrived, strict=True)]


def _unlike(example: Example) -> Example:
    return _with_text(example, as_fields(reworded(example.text.text, UNSEEN_PHRASES)))


def _with_text(example: Example, text: str) -> Example:
    return Example(example.key, Reading(text, example.text.source))
