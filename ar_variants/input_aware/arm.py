"""Arms whose AR sees some of the input: what it sees is the arm's view."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, model_validator

from ar_variants.input_aware.informed import (
    ClosedForm,
    InformedReconstructor,
    InjectedReconstructor,
    Taught,
)
from ar_variants.input_aware.seeing import SeeingReconstructor
from ar_variants.input_aware.views import (
    BagOfTokens,
    EarlyState,
    Encoder,
    LastTokens,
    Sentence,
    bag,
    last,
    whole,
)
from common.arms.arm import Outcome
from common.arms.reconstructor import ReconstructorArm, with_sources
from common.config_base import Config
from common.data.batches import Example
from common.errors import NlaError
from common.evaluation.embedder import Embedder
from common.models.reconstructor import Reconstructor
from common.models.sizes import model_sizes
from common.schema import AV_SFT, DOC_ID, KEY, Reader, Reading, View
from common.seeding import keyed_fraction
from common.trunk.artefacts import Trunk

SILENT, BLIND = 0.15, 0.15
"""Shares of the training examples without explanation, and without anything of the input."""


class ViewConfig(Config):
    """What an AR sees of the input."""

    view: Literal["given", "topic", "tokens", "embedder", "blocks"]
    """`given`: a closed form of the last tokens; `topic`: all tokens without order; `tokens`: the
    last tokens as they are; `embedder`: a sentence encoder's vector of the input; `blocks`: the
    state after the target's first blocks."""
    tokens: int | None = Field(default=None, ge=1)
    """How many last tokens, for `given` and `tokens`."""
    blocks: int | None = Field(default=None, ge=1)
    """How many first blocks, for `blocks`."""

    @model_validator(mode="after")
    def _what_the_view_needs(self) -> "ViewConfig":
        if (self.tokens is not None) != (self.view in ("given", "tokens")):
            raise ValueError("`tokens` belongs to the views `given` and `tokens`, which need it")
        if (self.blocks is not None) != (self.view == "blocks"):
            raise ValueError("`blocks` belongs to the view `blocks`, which needs it")
        return self


def dropped(reading: Reading, silent: bool, blind: bool) -> Reading:
    """A reading without its explanation, or without what is seen of the input."""
    return Reading("" if silent else reading.text, () if blind else reading.source)


class InputAwareArm(ReconstructorArm):
    """Trains an AR that reads an explanation in the light of a part of the input.

    In a share of the examples either is missing, so that the same weights answer to both, to the
    explanation alone and to the input alone. Views that are `given` answer to the input alone in
    closed form, and are never trained without.
    """

    settings_class = ViewConfig
    settings: ViewConfig

    @property
    def shares(self) -> tuple[float, float]:
        """Of the training examples without explanation, and of those without input."""
        return (0.0, 0.0) if self.settings.view == "given" else (SILENT, BLIND)

    @property
    def view(self) -> View:
        """The tokens of an input that reach the AR."""
        settings = self.settings
        if settings.tokens:
            return last(settings.tokens)
        return bag if settings.view == "topic" else whole

    def build(self, trunk: Trunk) -> Reconstructor:
        """A new AR that sees as much; NlaError for a view that this target cannot give."""
        target, limit, blocks = (
            trunk.target,
            self.profile.ar.max_explanation_tokens,
            trunk.layer + 1,
        )
        parts = target.model, target.tokenizer, blocks, limit
        closed = ClosedForm(self._encoder(trunk), trunk.mean)
        parts = (*parts, closed, self._taught(trunk))
        if self.settings.view == "tokens":
            return SeeingReconstructor(self.settings.tokens or 0, *parts)
        kind = InformedReconstructor if self.settings.view == "given" else InjectedReconstructor
        return kind(*parts)

    def readings(self, trunk: Trunk, plan: list[list[Example]], seed: int) -> list[list[Example]]:
        """Without the explanation, or without the input, in the examples that a draw has chosen."""
        silent, blind = self.shares
        found = []
        for number, batch in enumerate(with_sources(trunk, plan, self.view)):
            draws = [keyed_fraction("dropped", seed, number, one.key) for one in batch]
            found.append(
                [
                    Example(
                        one.key, dropped(one.text, draw < silent, silent <= draw < silent + blind)
                    )
                    for one, draw in zip(batch, draws, strict=True)
                ]
            )
        return found

    def test(self, trained: Reconstructor, seed: int) -> Outcome:
        """Also what the words add to the view, and what either is worth alone."""
        tests, read = self.test_set(seed), self.test_reader(trained)
        found = self.test_conditional(trained, read, seed)
        facts = model_sizes(trained) | tests.denominators
        return Outcome(self.test_rows(tests, read), found.measures(), facts=facts)

    def test_reader(self, trained: Reconstructor) -> Reader:
        """Reads each reading once: several measures ask for the same."""
        from common.rollout.reading import Remembering, reader_of

        return Remembering(reader_of(trained, self.profile))

    def test_conditions_by(self, tests: Any, source: str) -> Any:
        """Unchanged and with parts of others: holes and cuts are asked of other ARs."""
        from common.evaluation.roundtrip import WHOLE

        every = super().test_conditions_by(tests, source)
        return {name: t for name, t in every.items() if name in WHOLE or name.startswith("swap_")}

    def test_conditional(self, trained: Reconstructor, read: Reader, seed: int) -> Any:
        """Measures of what the AR sees and of what words add to it: a `Conditional`."""
        from ar_variants.input_aware.conditional import Conditional, closed_of

        tests = self.test_set(seed)
        closed = closed_of(trained, tests, self.settings.tokens, self.view)
        return Conditional(tests, read, self.view, closed, blind=self.shares[1] > 0)

    def metadata(self, model: Reconstructor, trunk: Trunk) -> dict[str, str]:
        """Also the view: weights that have seen another part of the input are refused."""
        seen = self.settings.tokens or self.settings.blocks
        view = f"{self.settings.view} {seen}" if seen else self.settings.view
        return super().metadata(model, trunk) | {"view": view} | self._embedder

    @property
    def _embedder(self) -> dict[str, str]:
        """The sentence encoder, where it is the view: others' vectors are not comparable."""
        chosen = self.profile.evaluation
        if self.settings.view != "embedder":
            return {}
        return {"embedder": f"{chosen.embedder} {chosen.embedder_sha256}"}

    def trained_with(self, seed: int) -> dict[str, Any]:
        """Also the sentence encoder, where it is the view."""
        return super().trained_with(seed) | self._embedder

    def _encoder(self, trunk: Trunk) -> Encoder:
        target, settings, chosen = trunk.target, self.settings, self.profile.evaluation
        low = self.profile.activations.precision == "bfloat16"
        if settings.view == "topic":
            return BagOfTokens(target)
        if settings.view == "embedder":
            embed = Embedder.load(chosen.embedder, chosen.embedder_sha256, target)
            return Sentence(embed, target.tokenizer)
        if settings.blocks:
            if settings.blocks > trunk.layer:
                what = (
                    f"a view of {settings.blocks} blocks is the activation of layer {trunk.layer}"
                )
                where = f"experiments/{self.plan.experiment}/params.yaml"
                raise NlaError(what, where=where, remedy=f"set `blocks` to at most {trunk.layer}")
            return EarlyState(target, settings.blocks, low)
        assert settings.tokens, "a view of some tokens"
        return LastTokens(target, trunk.layer, settings.tokens, low)

    def _taught(self, trunk: Trunk) -> Callable[[], Taught]:
        """The activations that the AV has learned from: the AR is never trained on these."""

        def taught() -> Taught:
            rows = trunk.activations([AV_SFT], [KEY, DOC_ID])
            keys = rows[KEY].to_list()
            seen = [self.view(trunk.sources[key]) for key in keys]
            return Taught(seen, trunk.store[keys], rows[DOC_ID].to_list())

        return taught


class ViewAloneArm(InputAwareArm):
    """Trains an AR on the view alone, without any explanation; there are no texts to test it on."""

    has_samples = False

    @property
    def shares(self) -> tuple[float, float]:
        """All are without explanation."""
        return 1.0, 0.0

    def build(self, trunk: Trunk) -> Reconstructor:
        """NlaError for a view that is given in closed form: there is nothing to train."""
        if self.settings.view == "given":
            where = f"experiments/{self.plan.experiment}/params.yaml"
            remedy = "choose another view, or leave the arm out"
            raise NlaError("a view that is given has nothing to train", where=where, remedy=remedy)
        return super().build(trunk)

    def dev_readings(self, trunk: Trunk, plan: list[list[Example]]) -> list[list[Example]]:
        """Without explanations, too."""
        seen = super().dev_readings(trunk, plan)
        return [[Example(one.key, dropped(one.text, True, False)) for one in b] for b in seen]

    def test(self, trained: Reconstructor, seed: int) -> Outcome:
        """What the view is worth."""
        measures = self.test_conditional(trained, self.test_reader(trained), seed).of_view()
        facts = model_sizes(trained) | self.test_set(seed).denominators
        return Outcome(measures=measures, facts=facts)
