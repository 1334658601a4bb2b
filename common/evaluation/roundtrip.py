"""Text → AR → activation: one row of errors per activation and condition."""

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.evaluation.conditions import ORIGINAL, Conditions
from common.metrics.fve import cosines, normalize, raw_squared_errors, squared_errors
from common.metrics.retrieval import distractor_indices, retrieval_ranks
from common.schema import DOC_ID, KEY, TOKEN_IDS, TOPIC, Reader, Reading, View, nothing
from common.seeding import keyed_seed


class Judge:
    """The held-out activations, and everything needed to measure errors of reconstructions."""

    def __init__(
        self,
        table: pl.DataFrame,
        activations: Float[Tensor, "rows d_model"],
        mean: Float[Tensor, " d_model"],
        mean_norm: float,
        distractors: int,
    ) -> None:
        """`table` (key, doc_id, topic, token_ids) has the rows of `activations`; `mean` is μ.

        `mean_norm`, the mean length of the training activations, gives a direction its raw scale.
        """
        self.table, self.activations, self.mean, self.mean_norm = (
            table,
            activations,
            mean,
            mean_norm,
        )
        topics = table[TOPIC].fill_null("").to_list()
        seed = keyed_seed("distractors")
        self.distractors = distractor_indices(topics, table[DOC_ID].to_list(), distractors, seed)

    def rows(
        self, read: Reader, conditions: Conditions, source: str, view: View = nothing
    ) -> pl.DataFrame:
        """Results rows, without arm and seed, of one writer's texts.

        Beside a text, whatever its condition, the AR gets what `view` shows of the row's own input.
        """
        seen = [view(tuple(ids)) for ids in self.table[TOKEN_IDS].to_list()]
        asked = {
            name: {row: Reading(t, seen[row]) for row, t in enumerate(texts) if t is not None}
            for name, texts in conditions.items()
        }
        given = dict.fromkeys(reading for part in asked.values() for reading in part.values())
        places = {reading: place for place, reading in enumerate(given)}
        answers = read([*places])  # each reading once, however many conditions contain it
        frames = [
            self._frame(name, source, [*part], answers[[places[one] for one in part.values()]])
            for name, part in asked.items()
        ]
        return pl.concat(frames)

    def _frame(
        self, name: str, source: str, applied: list[int], predictions: Tensor
    ) -> pl.DataFrame:
        truth = self.activations[applied]
        raw = normalize(predictions) * (self.mean_norm / truth.shape[1] ** 0.5)
        errors = {
            "squared_error": squared_errors(predictions, truth).double().tolist(),
            "cosine": cosines(predictions, truth).double().tolist(),
            "raw_squared_error": raw_squared_errors(raw, truth).double().tolist(),
        }
        whole = name == ORIGINAL and len(applied) == len(self.activations)
        ranks = (
            retrieval_ranks(predictions, truth, self.distractors, self.mean).tolist()
            if whole
            else []
        )
        measured = pl.DataFrame(
            {"row": applied, **errors, "retrieval_rank": ranks or [None] * len(applied)},
            schema_overrides={"row": pl.Int64, "retrieval_rank": pl.Int64},
        )
        keys = self.table.select(KEY, DOC_ID).with_row_index("row").cast({"row": pl.Int64})
        return keys.join(measured, on="row", how="left", maintain_order="left").select(
            KEY,
            DOC_ID,
            pl.lit(source).alias("source"),
            pl.lit(name).alias("transform"),
            pl.col("squared_error").is_not_null().alias("applied"),
            "squared_error",
            "cosine",
            "raw_squared_error",
            "retrieval_rank",
        )
