"""Text → AR → activation: one row of errors per activation and condition."""

from collections.abc import Callable, Iterable, Sequence

import polars as pl
from jaxtyping import Float
from torch import Tensor

from common.config import EvaluationConfig
from common.evaluation.bases import Beyond, Fitted, HeldOut, Said
from common.evaluation.conditions import ORIGINAL, SHUFFLED, Conditions
from common.metrics.beyond import error_column
from common.metrics.fve import cosines, normalize, raw_squared_errors, squared_errors
from common.metrics.retrieval import distractor_indices, retrieval_ranks
from common.schema import DOC_ID, KEY, TOKEN_IDS, Reader, Reading, View, nothing
from common.seeding import keyed_random, keyed_seed

Claims = Callable[[Sequence[str]], Float[Tensor, "texts d_model"]]
"""Texts → predictions of n(h) from the word that each quotes as the source's last one."""
WHOLE = (ORIGINAL, SHUFFLED)
"""Conditions that are read for all test documents; others cost time, and need fewer."""


class Judge:
    """The held-out activations, and everything needed to measure errors of reconstructions."""

    def __init__(
        self,
        test: HeldOut,
        dev: HeldOut,
        mean: Float[Tensor, " d_model"],
        mean_norm: float,
        config: EvaluationConfig,
        claims: Claims | None = None,
    ) -> None:
        """`mean` is μ; `mean_norm`, the mean raw length in training, scales directions.

        Without `claims` no text is taken to quote anything.
        """
        self.claims = claims or (lambda texts: mean.expand(len(texts), -1))
        self.test, self.dev, self.mean, self.mean_norm = test, dev, mean, mean_norm
        self.table, self.activations = test.table, test.activations
        self.beyond = Beyond(dev, test, mean)
        last = self.table[TOKEN_IDS].list.last().to_list()
        documents, seed = self.table[DOC_ID].to_list(), keyed_seed("distractors")
        count = config.distractors
        self.distractors = distractor_indices(last, documents, test.bases[1][0], count, seed)
        self.damaged = damaged_rows(documents, config.damaged_documents)
        """The rows whose texts are also read damaged."""

    def rows(
        self,
        read: Reader,
        conditions: Conditions,
        source: str,
        view: View = nothing,
        dev: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Results rows, without arm and seed, of one writer's texts.

        Beside a text, whatever its condition, the AR gets what `view` shows of the row's own input.
        `dev` are the same writer's texts, undamaged, of the dev activations; without them errors
        beyond the last tokens are null.
        """
        seen = _seen(self.table, view)
        asked = {
            name: {row: Reading(t, seen[row]) for row, t in enumerate(texts) if t is not None}
            for name, texts in self._read(conditions).items()
        }
        heard = [] if dev is None else _readings(self.dev.table, dev, view)
        parts = [reading for part in asked.values() for reading in part.values()]
        given = dict.fromkeys([*parts, *heard])
        places = {reading: place for place, reading in enumerate(given)}
        answers = read([*places])  # each reading once, however many conditions contain it
        said = Said(answers, self.claims([one.text for one in places]) if heard else answers)

        def of(wanted: Iterable[Reading]) -> Said:
            rows = [places[one] for one in wanted]
            return Said(*(part[rows] for part in said))

        fitted = self.beyond.fit(of(heard)) if heard else None
        frames = [
            self._frame((name, source), [*part], of(part.values()), fitted)
            for name, part in asked.items()
        ]
        return pl.concat(frames)

    def _read(self, conditions: Conditions) -> Conditions:
        """None in place of the texts that are not read damaged."""
        return {
            name: [*texts]
            if name in WHOLE
            else [text if row in self.damaged else None for row, text in enumerate(texts)]
            for name, texts in conditions.items()
        }

    def _frame(
        self, named: tuple[str, str], applied: list[int], said: Said, fitted: Fitted | None
    ) -> pl.DataFrame:
        (name, source), predictions = named, said.answers
        truth = self.activations[applied]
        raw = normalize(predictions) * (self.mean_norm / truth.shape[1] ** 0.5)
        errors = {
            "squared_error": squared_errors(predictions, truth),
            "cosine": cosines(predictions, truth),
            "raw_squared_error": raw_squared_errors(raw, truth),
        }
        beyond = self.beyond.errors(fitted, applied, said) if fitted else {}
        whole = name == ORIGINAL and len(applied) == len(self.activations)
        ranks = (
            retrieval_ranks(predictions, truth, self.distractors, self.mean).tolist()
            if whole
            else []
        )
        measured = pl.DataFrame(
            {
                "row": applied,
                **{column: found.double().tolist() for column, found in errors.items()},
                "retrieval_rank": ranks or [None] * len(applied),
                **{
                    column: beyond[column].tolist() if fitted else [None] * len(applied)
                    for column in map(error_column, self.test.bases)
                },
            },
            schema_overrides={"row": pl.Int64, "retrieval_rank": pl.Int64}
            | dict.fromkeys(map(error_column, self.test.bases), pl.Float64),
        )
        keys = self.table.select(KEY, DOC_ID).with_row_index("row").cast({"row": pl.Int64})
        if name not in WHOLE:
            keys = keys.filter(pl.col("row").is_in(sorted(self.damaged)))
        return keys.join(measured, on="row", how="left", maintain_order="left").select(
            KEY,
            DOC_ID,
            pl.lit(source).alias("source"),
            pl.lit(name).alias("transform"),
            pl.col("squared_error").is_not_null().alias("applied"),
            *measured.columns[1:],
        )


def damaged_rows(documents: Sequence[str], count: int) -> frozenset[int]:
    """The rows of the first `count` documents, in an order of their own that a key decides."""
    names = sorted(set(documents))
    chosen = {*keyed_random("damaged").sample(names, len(names))[:count]}
    return frozenset(row for row, name in enumerate(documents) if name in chosen)


def _seen(table: pl.DataFrame, view: View) -> list[tuple[int, ...]]:
    return [view(tuple(ids)) for ids in table[TOKEN_IDS].to_list()]


def _readings(table: pl.DataFrame, texts: Sequence[str], view: View) -> list[Reading]:
    seen = _seen(table, view)
    assert len(texts) == len(seen), f"{len(texts)} dev texts of {len(seen)} activations"
    return [Reading(text, ids) for text, ids in zip(texts, seen, strict=True)]
