"""The held-out activations of a trunk: their texts, what an AR is asked, and what judges it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import polars as pl

from common.data.batches import Example
from common.data.corpus import load_corpus
from common.device import best_device
from common.evaluation import floors
from common.evaluation.conditions import (
    FULL_PARAPHRASE,
    ORIGINAL,
    SOURCE_TEXT,
    Conditions,
    conditions,
    source_texts,
)
from common.evaluation.paraphrase import api_paraphrases
from common.evaluation.roundtrip import Judge
from common.manifest import digest_of
from common.metrics.fve import variance
from common.schema import AV, DOC_ID, EXPLANATION, KEY, TEACHER, TEST, TEXT, TOKEN_IDS, TOPIC
from common.trunk.artefacts import Trunk


class TestSet:
    """What runs on one pair of a trunk are tested on."""

    __test__ = False  # no test case of pytest's

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
        """Of the activations, in the order of the table."""
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


def fit_floors(trunk: Trunk, examples: list[Example]) -> floors.Floors:
    """Readers that are no language models, fitted to some explanations."""
    keys, texts = zip(*examples, strict=True)
    vectors, documents = trunk.store[list(keys)], trunk.documents_of(keys)
    chosen = trunk.profile.evaluation
    embed = floors.Embedder.load(chosen.embedder, chosen.embedder_sha256, trunk.target)
    return floors.fit_all(
        {
            "mean_direction": lambda: floors.mean_direction(trunk.mean),
            "tfidf_ridge": lambda: floors.tfidf_ridge(texts, vectors, documents),
            "embedding_ridge": lambda: floors.embedding_ridge(texts, vectors, documents, embed),
        }
    )


def ceiling(tests: TestSet, sources: Sequence[str]) -> pl.DataFrame:
    """Rows of the target's own first blocks on the source text, beside each writer's."""
    target, table = tests.trunk.target, tests.table
    target.model.to(best_device())
    own = floors.own_blocks(target, tests.trunk.layer, table[TOKEN_IDS].to_list())
    asked = {ORIGINAL: tests.keys}
    rows = tests.judge.rows(lambda _: own, asked, "").with_columns(arm=pl.lit("own_blocks"))
    return pl.concat(rows.with_columns(source=pl.lit(source)) for source in sources)


def floors_made_of(trunk: Trunk) -> dict[str, Any]:
    """What the floors depend on: the data, the texts they are fitted to and the embedder."""
    chosen = trunk.profile.evaluation
    return trunk.digests() | {
        "examples": digest_of([tuple(example) for example in trunk.ar_examples()]),
        "embedder": [chosen.embedder, chosen.embedder_sha256],
        "distractors": chosen.distractors,
    }
