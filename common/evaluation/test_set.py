"""The held-out activations of a trunk: their texts, the conditions, and the judge of errors."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.data.corpus import load_corpus
from common.evaluation.bases import HeldOut
from common.evaluation.conditions import (
    FULL_PARAPHRASE,
    SOURCE_TEXT,
    Conditions,
    conditions,
    source_texts,
)
from common.evaluation.last_tokens import (
    BASES,
    Answers,
    expects,
    fitted,
    last_token_features,
    tails_of,
)
from common.evaluation.nearest import nearest_texts
from common.evaluation.paraphrase import api_paraphrases
from common.evaluation.ridge import LinearMap
from common.evaluation.roundtrip import Judge
from common.evaluation.statements import outline
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import variance
from common.schema import (
    AV,
    DEV,
    DOC_ID,
    EXPLANATION,
    KEY,
    NEAREST_TEXT,
    NEXT_TOKENS,
    NEXT_TOKENS_TEXT,
    TEACHER,
    TEST,
    TEXT,
    TOKEN_IDS,
    TOPIC,
    TRAINING_SPLITS,
)
from common.seeding import keyed_fraction
from common.trunk.artefacts import Trunk

READ = (KEY, DOC_ID, TEXT, TOKEN_IDS, NEXT_TOKENS)


class Texts(NamedTuple):
    """What one writer says of the test and of the dev activations, in the order of the tables."""

    test: list[str]
    dev: list[str]


class TestSet:
    """The test data of all runs on one pair of a trunk; scalars are fitted on its dev data."""

    __test__ = False  # not a test case for pytest

    def __init__(self, trunk: Trunk) -> None:
        """Reads nothing yet."""
        self.trunk, self.profile = trunk, trunk.profile

    @cached_property
    def table(self) -> pl.DataFrame:
        """Test activations with topic, source text and every writer's explanation, by key."""
        return self._table(self._chosen())

    @cached_property
    def dev(self) -> pl.DataFrame:
        """The same of the dev activations."""
        return self._table(self.trunk.activations([DEV], READ))

    @property
    def unexplained(self) -> int:
        """How many of the chosen test activations lack an explanation and are left out."""
        return self._chosen().height - self.table.height

    @property
    def keys(self) -> list[str]:
        """Keys of the activations, in the order of the table."""
        return self.table[KEY].to_list()

    @cached_property
    def tails(self) -> Answers:
        """The answers of readers of the last tokens."""
        return tails_of(self.trunk)

    @cached_property
    def judge(self) -> Judge:
        """Measures reconstructions of the test activations."""
        trunk, config = self.trunk, self.profile.evaluation
        test, dev = self._held_out(self.table), self._held_out(self.dev)
        return Judge(test, dev, trunk.mean, trunk.mean_norm, config, self.claims)

    def claims(self, texts: Sequence[str]) -> Float[Tensor, "texts d_model"]:
        """What `last_token` would predict from the word that each text quotes as the last one.

        μ where a text quotes none.
        """
        words = [outline(text).ending_words.split()[-1:] for text in texts]
        rows = [row for row, found in enumerate(words) if found]
        found = self.trunk.mean.repeat(len(texts), 1)
        found[rows] = self._last_token(self.vectors.of_last([words[row][0] for row in rows]))
        return found

    @cached_property
    def vectors(self) -> WordVectors:
        """The target's input embeddings."""
        return WordVectors(self.trunk.target)

    @cached_property
    def _last_token(self) -> LinearMap:
        """From the embedding of the true last token to n(h)."""
        rows = self.trunk.activations(TRAINING_SPLITS, [KEY, DOC_ID, TOKEN_IDS])
        return fitted(self.trunk, rows, last_token_features(self.vectors, rows))

    def written_by(self, source: str) -> Texts:
        """The explanations of the teacher or of the warm-started AV."""
        return Texts(self.table[source].to_list(), self.dev[source].to_list())

    def written_in(self, written: pl.DataFrame) -> Texts:
        """A run's own explanations, from its table with the columns key and explanation."""
        texts = dict(written.select(KEY, EXPLANATION).iter_rows())
        return Texts(*([texts[key] for key in table[KEY]] for table in (self.table, self.dev)))

    @cached_property
    def references(self) -> dict[str, Texts]:
        """Texts of writers that are no AV, by name: what an AR reads in them, no AV is needed for.

        The teacher's text of the nearest training activation; and the list of the target's own
        likeliest next tokens, where these are known.
        """
        tables = (self.table, self.dev)
        near = (nearest_texts(self.trunk, table[KEY].to_list()) for table in tables)
        found = {NEAREST_TEXT: Texts(*near)}
        if expects(self.table):
            listed = (_listed(table[NEXT_TOKENS].to_list()) for table in tables)
            found[NEXT_TOKENS_TEXT] = Texts(*listed)
        return found

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
            cache, damaged = self.trunk.places.root / "paraphrase_cache", sorted(self.judge.damaged)
            asked = [texts[row] for row in damaged]
            answers = api_paraphrases(asked, self.profile.teacher, cache)
            answered = dict(zip(damaged, answers, strict=True))
            found[FULL_PARAPHRASE] = [answered.get(row) for row in range(len(texts))]
        return found

    def variances(self) -> tuple[float, float]:
        """The fixed denominators on the test split: of FVE, and of raw-scale FVE."""
        activations = self.judge.activations
        raw = (activations - self.trunk.training_activations.mean(0)).square().sum(1).mean()
        return variance(activations, self.trunk.mean), float(raw)

    @property
    def denominators(self) -> dict[str, Any]:
        """Facts of a summary: `variance`, of FVE, and `variances`, of FVE beyond last tokens."""
        return {"variance": self.variances()[0], "variances": self.judge.beyond.variances}

    def _chosen(self) -> pl.DataFrame:
        """The test activations; of each document as many as the profile says, drawn by key."""
        table, limit = self.trunk.activations([TEST], READ), self.profile.evaluation
        if (most := limit.positions_per_document) is None:
            return table
        draws = pl.Series("draw", [keyed_fraction("tested", key) for key in table[KEY]])
        drawn = table.with_columns(draws).filter(pl.col("draw").rank().over(DOC_ID) <= most)
        return drawn.drop("draw")

    def _table(self, chosen: pl.DataFrame) -> pl.DataFrame:
        topics = load_corpus(self.trunk.places.corpus).select(DOC_ID, TOPIC)
        table = chosen.join(topics, on=DOC_ID, how="left")
        for source in (TEACHER, AV):
            texts = self.trunk.explanations(source).select(KEY, pl.col(EXPLANATION).alias(source))
            table = table.join(texts, on=KEY, how="inner")
        return table.sort(KEY)

    def _held_out(self, table: pl.DataFrame) -> HeldOut:
        keys = table[KEY].to_list()
        bases = {0: []} | {
            count: [self.tails.for_keys(name, keys) for name in names]
            for count, names in BASES.items()
        }
        return HeldOut(table, self.trunk.store[keys], bases)


def _listed(rows: Sequence[Sequence[str]]) -> list[str]:
    """The next tokens of each row as a text, in quotation marks."""
    words = [dict.fromkeys(filter(None, (token.strip() for token in row))) for row in rows]
    return ["Next may be " + ", ".join(f'"{word}"' for word in row) + "." for row in words]
