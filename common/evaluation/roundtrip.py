"""Text → AR → activation: one row of errors per activation and condition."""

from collections.abc import Callable, Sequence

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.evaluation.conditions import ORIGINAL, Conditions
from common.metrics.fve import cosines, normalize, raw_squared_errors, squared_errors
from common.metrics.retrieval import distractor_indices, retrieval_ranks
from common.schema import DOC_ID, KEY, TOPIC
from common.seeding import keyed_seed

Predict = Callable[[Sequence[str]], Float[Tensor, "rows d_model"]]
"""Texts → reconstructions: an AR, or a floor that stands in for one."""


class Judge:
    """The held-out activations and everything errors are measured against."""

    def __init__(
        self,
        table: pl.DataFrame,
        activations: Float[Tensor, "rows d_model"],
        mean: Float[Tensor, " d_model"],
        mean_norm: float,
        distractors: int,
    ) -> None:
        """`table` (key, doc_id, topic) has the rows of `activations`; `mean` is μ.

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

    def rows(self, predict: Predict, conditions: Conditions, source: str) -> pl.DataFrame:
        """Results rows, without arm and seed, of one writer's texts."""
        given = [text for texts in conditions.values() for text in texts if text is not None]
        places = {text: place for place, text in enumerate(dict.fromkeys(given))}
        predictions = predict([*places])  # a text is read once, however many conditions hold it
        frames = []
        for name, texts in conditions.items():
            applied = {row: places[text] for row, text in enumerate(texts) if text is not None}
            part = predictions[[*applied.values()]]
            frames.append(self._frame(name, source, [*applied], part))
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
