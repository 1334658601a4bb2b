"""The held-out activations of a trunk: their texts, the conditions, and the judge of errors."""

from functools import cached_property

import polars as pl

from common.data.corpus import load_corpus
from common.evaluation.conditions import (
    FULL_PARAPHRASE,
    SOURCE_TEXT,
    Conditions,
    conditions,
    source_texts,
)
from common.evaluation.paraphrase import api_paraphrases
from common.evaluation.roundtrip import Judge
from common.metrics.fve import variance
from common.schema import AV, DOC_ID, EXPLANATION, KEY, TEACHER, TEST, TEXT, TOKEN_IDS, TOPIC
from common.trunk.artefacts import Trunk


class TestSet:
    """The test data of all runs on one pair of a trunk."""

    __test__ = False  # not a test case for pytest

    def __init__(self, trunk: Trunk) -> None:
        """Reads nothing yet."""
        self.trunk, self.profile = trunk, trunk.profile

    @cached_property
    def table(self) -> pl.DataFrame:
        """Test activations with topic, source text and every writer's explanation, by key."""
        columns = [KEY, DOC_ID, TEXT, TOKEN_IDS]
        table = self.trunk.activations([TEST], columns).join(
            load_corpus(self.trunk.places.corpus).select(DOC_ID, TOPIC), on=DOC_ID, how="left"
        )
        for source in (TEACHER, AV):
            texts = self.trunk.explanations(source).select(KEY, pl.col(EXPLANATION).alias(source))
            table = table.join(texts, on=KEY, how="inner")
        return table.sort(KEY)

    @property
    def keys(self) -> list[str]:
        """Keys of the activations, in the order of the table."""
        return self.table[KEY].to_list()

    @cached_property
    def judge(self) -> Judge:
        """Measures reconstructions of the test activations."""
        trunk, distractors = self.trunk, self.profile.evaluation.distractors
        return Judge(self.table, trunk.store[self.keys], trunk.mean, trunk.mean_norm, distractors)

    def conditions_by(self, source: str) -> Conditions:
        """All conditions of a writer's test explanations; the source text beside the teacher's."""
        found = self.conditions_of(self.table[source].to_list())
        if source == TEACHER:
            found[SOURCE_TEXT] = [*self.source_texts]
        return found

    @property
    def source_texts(self) -> list[str]:
        """The end of each test activation's source text, as long as an AR reads."""
        limit = self.profile.ar.max_explanation_tokens
        return source_texts(self.table, self.trunk.tokenizer, limit)

    def conditions_of(self, texts: list[str]) -> Conditions:
        """All conditions of some texts, one for each test activation."""
        named = self.table.select(KEY, DOC_ID, TEXT, pl.Series(EXPLANATION, texts))
        found = conditions(named, self.profile.evaluation, self.trunk.tokenizer)
        if self.profile.evaluation.paraphrase == "api":
            cache = self.trunk.places.root / "paraphrase_cache"
            found[FULL_PARAPHRASE] = api_paraphrases(texts, self.profile.teacher, cache)
        return found

    def variances(self) -> tuple[float, float]:
        """The fixed denominators on the test split: of FVE, and of raw-scale FVE."""
        activations = self.judge.activations
        raw = (activations - self.trunk.training_activations.mean(0)).square().sum(1).mean()
        return variance(activations, self.trunk.mean), float(raw)
