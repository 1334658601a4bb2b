"""What a position's last tokens alone give away of its activation, and what is expected next.

Readers of the source text, not of explanations: an explanation that copies so many words has said
no more than this. All answer in units of n(h).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.evaluation.own_blocks import last_tokens, own_blocks
from common.evaluation.ridge import LinearMap, ridge_by_document
from common.evaluation.word_vectors import WordVectors
from common.metrics.fve import normalize
from common.schema import (
    DEV,
    DOC_ID,
    KEY,
    NEXT_PROBS,
    NEXT_TOKENS,
    SPLIT,
    TEST,
    TOKEN_IDS,
    TRAINING_SPLITS,
    Reader,
    Reading,
)
from common.seeding import keyed_random
from common.trunk.artefacts import Trunk

COUNTS = (1, 2, 4, 8, 16)
"""How many last tokens the target's own blocks read."""
MOST_ROWS = 3000
"""Training activations to which a linear map after the target's blocks is fitted: reading all
would take longer than all else here, and gain little."""
LAST_TOKEN, NEXT, OWN_BLOCKS = "last_token", "next_tokens", "own_blocks"
OF_ONE = (LAST_TOKEN, "own_blocks_last_1_linear")
BASES = {1: OF_ONE, 4: (*OF_ONE, "own_blocks_last_4_linear")}
"""Number of last tokens that are known → the best readers of them: the bases of FVE beyond them.

Each knows something that the others do not: a map of an embedding is fitted to more activations,
the target's own blocks are not linear.
"""


def tails(trunk: Trunk) -> tuple[pl.DataFrame, dict[str, int]]:
    """Every reader's answers for the dev and test activations, and the rows each was fitted to.

    Columns key, split and one vector of each reader: `last_token`, `next_tokens` (where the
    activations' table has them), `own_blocks_last_<k>`, `own_blocks_last_<k>_linear`, and, from all
    tokens, `own_blocks`, the ceiling.
    """
    columns = [KEY, DOC_ID, SPLIT, TOKEN_IDS, NEXT_TOKENS, NEXT_PROBS]
    table = trunk.activations(columns=columns)
    asked = table.filter(pl.col(SPLIT).is_in([DEV, TEST]))
    training = table.filter(pl.col(SPLIT).is_in(TRAINING_SPLITS))
    vectors = WordVectors(trunk.target)
    features = {LAST_TOKEN: last_token_features}
    if expects(training):
        features[NEXT] = next_token_features
    answers = {
        name: fitted(trunk, training, read(vectors, training))(read(vectors, asked))
        for name, read in features.items()
    }
    rows = dict.fromkeys(features, training.height)
    some = _some(training)
    low = trunk.profile.activations.precision == "bfloat16"
    whole = own_blocks(trunk.target, trunk.layer, asked[TOKEN_IDS].to_list(), low)
    for count, (states, learned) in _own_states(trunk, [asked, some], low).items():
        name = f"{OWN_BLOCKS}_last_{count}"
        read = fitted(trunk, some, normalize(learned))
        answers |= {name: normalize(states), f"{name}_linear": read(normalize(states))}
        rows |= {f"{name}_linear": some.height}
    answers[OWN_BLOCKS] = normalize(whole)
    shape = pl.Array(pl.Float16, trunk.mean.shape[0])
    series = [pl.Series(name, found.half().numpy(), dtype=shape) for name, found in answers.items()]
    return asked.select(KEY, SPLIT).with_columns(series), rows


def fitted(trunk: Trunk, rows: pl.DataFrame, features: Float[Tensor, "rows width"]) -> LinearMap:
    """The ridge regression from features of some activations to n(h)."""
    keys, documents = rows[KEY].to_list(), rows[DOC_ID].to_list()
    return ridge_by_document([features], trunk.store[keys], documents)


def last_token_features(vectors: WordVectors, rows: pl.DataFrame) -> Float[Tensor, "rows width"]:
    """The input embedding of each row's true last token."""
    return vectors.of_tokens(rows[TOKEN_IDS].list.last().to_list())


def next_token_features(vectors: WordVectors, rows: pl.DataFrame) -> Float[Tensor, "rows width"]:
    """The input embeddings of the target's own likeliest next tokens, weighted by probability."""
    both = rows.select(NEXT_TOKENS, NEXT_PROBS).iter_rows()
    weighted = []
    for tokens, probabilities in both:
        row: dict[str, float] = {}
        for token, probability in zip(tokens, probabilities, strict=True):
            row[token] = row.get(token, 0.0) + probability
        weighted.append(row)
    return vectors.of_weighted(weighted)


def expects(rows: pl.DataFrame) -> bool:
    """Whether the target's next tokens were read with the activations."""
    return bool(rows.height) and rows[NEXT_TOKENS].list.len().max() != 0


class Answers(NamedTuple):
    """What readers of the source answer, by the key of an activation."""

    places: Mapping[str, int]
    """{key: row of the vectors}."""
    vectors: Mapping[str, Float[Tensor, "rows d_model"]]
    """{reader: its answers}."""

    @classmethod
    def of(cls, keys: Sequence[str], vectors: Mapping[str, Tensor]) -> "Answers":
        """From vectors in the order of the keys."""
        return cls({key: row for row, key in enumerate(keys)}, vectors)

    def for_keys(self, reader: str, keys: Sequence[str]) -> Float[Tensor, "rows d_model"]:
        """A reader's answers for some activations."""
        return self.vectors[reader][[self.places[key] for key in keys]]

    def reader(self, name: str) -> Reader:
        """Answers readings whose text is the key of an activation."""

        def read(readings: Sequence[Reading]) -> Float[Tensor, "rows d_model"]:
            return self.for_keys(name, [one.text for one in readings])

        return read


def tails_of(trunk: Trunk) -> Answers:
    """What stage `last_tokens` has made."""
    table = trunk.last_tokens
    names = [name for name in table.columns if name not in (KEY, SPLIT)]
    vectors = {name: torch.from_numpy(table[name].to_numpy().astype("float32")) for name in names}
    return Answers.of(table[KEY].to_list(), vectors)


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    """At most `MOST_ROWS`, of documents drawn by key."""
    if rows.height <= MOST_ROWS:
        return rows
    documents = sorted(rows[DOC_ID].unique())
    order = keyed_random("last_tokens").sample(documents, len(documents))
    place = pl.DataFrame({DOC_ID: order}).with_row_index("place")
    drawn = rows.join(place, on=DOC_ID, how="left").sort("place", KEY).head(MOST_ROWS)
    return drawn.drop("place")


def _own_states(
    trunk: Trunk, tables: Sequence[pl.DataFrame], low: bool
) -> dict[int, list[Float[Tensor, "_rows d_model"]]]:
    """{number of last tokens: the own blocks' state for each table's rows}; all read at once."""
    ids = [ids for table in tables for ids in table[TOKEN_IDS].to_list()]
    windows = [row for count in COUNTS for row in last_tokens(trunk.target, ids, count)]
    states = own_blocks(trunk.target, trunk.layer, windows, low).split(len(ids))
    heights = [table.height for table in tables]
    return {count: [*part.split(heights)] for count, part in zip(COUNTS, states, strict=True)}
