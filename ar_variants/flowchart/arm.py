"""Arms whose AR is fitted in closed form; all else is as for an AR that is trained."""

import time
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field

from ar_variants.flowchart.chart import Chart, LookUps, Plan, Tools
from ar_variants.flowchart.fitted import FittedReconstructor, Frame
from ar_variants.flowchart.judge import Judge, proposed
from ar_variants.flowchart.look_up import LookUp
from ar_variants.flowchart.questions import Readers
from ar_variants.flowchart.soft import SoftTree
from ar_variants.flowchart.trees import Trees, one_tree, sum_of_trees
from common.arms.reconstructor import ReconstructorArm, dev_examples
from common.config import ARConfig
from common.config_base import Config
from common.data.batches import Example
from common.evaluation.embedder import Embedder
from common.evaluation.trunk_floors import lesson_of
from common.evaluation.word_vectors import WordVectors
from common.metrics.beyond import fit_stack, stack_errors
from common.metrics.fve import squared_errors
from common.schema import readings_of
from common.trunk.artefacts import Trunk


class FittedConfig(ARConfig):
    """The profile's `ar`, of which the examples alone count, and the size of a chart."""

    size: float = Field(gt=0)
    """Questions of a chart, or leaves of trees; rounded."""
    shrinkage: float = Field(gt=0)
    """Texts by which the vector of a question or leaf is drawn to zero."""


class FittedSettings(Config):
    """Which kind of chart."""

    form: Literal["look_up", "tree", "rules", "soft", "chart"]
    look_ups: LookUps = "none"
    """Of a chart: how it looks words up."""
    size: float = Field(default=1.0, gt=0)
    shrinkage: float = Field(default=5.0, gt=0)
    least: int = Field(default=3, ge=1)
    """A table's entry stands in at least so many training texts."""
    meaning: bool = True
    """Whether questions on meaning are asked, which a sentence encoder answers."""
    proposed: int = Field(default=0, ge=0)
    """How many questions the language model of `teacher.model` proposes, for the target to answer;
    none where no model is named."""
    boxes: int | None = Field(default=None, ge=1)
    """The most boxes that a chart may have, its look-ups included."""


class FittedArm(ReconstructorArm):
    """Fits an AR that a person can follow."""

    settings_class = FittedSettings
    settings: FittedSettings
    sections = ("evaluation", "teacher")
    objective = "dev_fve_best"
    curves = ()

    @property
    def tuned(self) -> FittedConfig:
        """The profile's `ar` with the arm's own size and shrinkage."""
        own = {"size": self.settings.size, "shrinkage": self.settings.shrinkage}
        return FittedConfig.model_validate(self.profile.ar.model_dump() | own)

    def build(self, trunk: Trunk) -> FittedReconstructor:
        """An AR of this kind that is not fitted yet."""
        return self.made(trunk, self.tuned)

    def made(self, trunk: Trunk, config: FittedConfig) -> FittedReconstructor:
        """The same with a size and a shrinkage that tuning has chosen."""
        limit = self.profile.ar.max_explanation_tokens
        frame = Frame(trunk.tokenizer, limit, trunk.mean.shape[0])
        size, arm = round(config.size), self.settings
        if arm.form == "look_up":
            return LookUp(frame, WordVectors(trunk.target))
        readers = self._readers(trunk)
        if arm.form == "soft":
            assert readers.embed, "a soft tree reads embeddings"
            depth = max(1, size.bit_length() - 1)
            return SoftTree(frame, readers.embed, depth, config.shrinkage)
        if arm.form == "chart":
            plan = Plan(arm.look_ups, size, config.shrinkage, arm.boxes, arm.least)
            return Chart(frame, plan, Tools(WordVectors(trunk.target), readers))
        grow = one_tree if arm.form == "tree" else sum_of_trees
        return Trees(frame, grow, size, config.shrinkage, readers)

    def _readers(self, trunk: Trunk) -> Readers:
        """An embedder for questions on meaning; a judge for questions that a model proposes."""
        chosen, teacher, settings = self.profile.evaluation, self.profile.teacher, self.settings
        found = Readers()
        if settings.meaning:
            embed = Embedder.load(chosen.embedder, chosen.embedder_sha256, trunk.target)
            found = found._replace(embed=embed)
        if settings.proposed and teacher.model:
            cache = trunk.places.root / "question_cache"
            ask = partial(proposed, count=settings.proposed, config=teacher, cache_folder=cache)
            found = found._replace(judge=Judge(trunk.target), propose=ask)
        return found

    def examples(self, trunk: Trunk, limit: int | None = None) -> list[Example]:
        """All that an AR is trained on, in trials too: to fit takes seconds."""
        return trunk.ar_examples()

    def train(self, run: Any, config: Any, seed: int, trial: Any = None) -> tuple[Any, dict]:
        """Fit the AR; `dev_fve` is measured as for an AR that is trained.

        `dev_fve_best`, with the answers' best length, is what is tuned: a ridge regression is short
        where it is uncertain, and the more it says the shorter it may be.
        """
        trunk, began = self.trunk(seed), time.perf_counter()
        model = self.made(trunk, config)
        examples = self.examples(trunk)
        model.fit(lesson_of(trunk, examples))
        dev = dev_examples(trunk, config)
        keys = [one.key for one in dev]
        with torch.no_grad():
            answers = model(model.encode(readings_of([one.text for one in dev])))
        truth, variance = trunk.store[keys], trunk.variance_of(keys)
        scaled = (trunk.mean, truth, [answers])
        best = stack_errors(fit_stack(*scaled), *scaled)
        facts = {
            "dev_fve": 1 - float(squared_errors(answers, truth).mean()) / variance,
            "dev_fve_best": 1 - float(best.mean()) / variance,
            "train_seconds": time.perf_counter() - began,
            "examples": len(examples),
            "boxes": model.size,
        }
        run.log({"dev_fve": facts["dev_fve"]}, 0)
        return model, facts
