"""Held-out activations with what is known of them without an explanation, and errors beyond it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl
import torch
from jaxtyping import Float
from torch import Tensor

from common.metrics.beyond import (
    Stack,
    better_form,
    beyond_name,
    error_column,
    fit_stack,
    stack_errors,
)
from common.metrics.fve import normalize


class HeldOut(NamedTuple):
    """Some activations: a row each of the table, the raw vectors, and of every base."""

    table: pl.DataFrame
    """Columns key, doc_id and token_ids."""
    activations: Float[Tensor, "rows d_model"]
    bases: Mapping[int, Sequence[Float[Tensor, "rows d_model"]]]
    """{k: predictions of n(h) from the last k tokens, the first of the last one}; none for 0."""


class Said(NamedTuple):
    """What is read from some texts, a row for each."""

    answers: Float[Tensor, "rows d_model"]
    """The reader's."""
    claims: Float[Tensor, "rows d_model"]
    """What a base would predict from the word that the text quotes last; μ where there is none."""


class Fitted(NamedTuple):
    """How a reader's answers are combined with each base; fitted on dev."""

    is_normal: bool
    """Whether the answers are taken as n(ĥ), or as given."""
    stacks: Mapping[int, Stack]


class Beyond:
    """Errors of answers on test rows, combined with bases by scalars fitted on dev rows."""

    def __init__(self, dev: HeldOut, test: HeldOut, mean: Float[Tensor, " d_model"]) -> None:
        """`mean` is μ."""
        self.dev, self.test, self.mean = dev, test, mean
        self.of_bases = {
            count: stack_errors(
                fit_stack(mean, dev.activations, dev.bases[count]), mean, test.activations, bases
            )
            for count, bases in test.bases.items()
        }
        """{k: ||n(h) - base'||² of each test row}."""
        self.variances = {
            beyond_name(count): float(errors.mean()) for count, errors in self.of_bases.items()
        }
        """{`beyond_<k>`: mean of these}, the denominators."""

    def fit(self, said: Said) -> Fitted:
        """From what a reader answers to a writer's dev texts, one for each dev row."""
        form, is_normal = better_form(self.mean, self.dev.activations, said.answers)
        stacks = {
            count: fit_stack(self.mean, self.dev.activations, _parts(bases, said.claims, form))
            for count, bases in self.dev.bases.items()
        }
        return Fitted(is_normal, stacks)

    def errors(
        self, fitted: Fitted, rows: list[int], said: Said
    ) -> dict[str, Float[Tensor, " rows"]]:
        """{column: errors of the answers} to texts of some test rows.

        Each is paired with the base: from the error of the stack is taken by how much the base's
        error on this row exceeds its mean. So 1 - error / variance is what the answer saves on this
        row, in units of the mean, and an answer that adds nothing has no interval but 0.
        """
        form = normalize(said.answers) if fitted.is_normal else said.answers
        truth, places = self.test.activations[rows], torch.tensor(rows, dtype=torch.long)
        found = {}
        for count, stack in fitted.stacks.items():
            bases = [base[places] for base in self.test.bases[count]]
            parts = _parts(bases, said.claims, form)
            left = stack_errors(stack, self.mean, truth, parts)
            harder = self.of_bases[count] - self.variances[beyond_name(count)]
            found[error_column(count)] = left - harder[places]
        return found


def _parts(bases: Sequence[Tensor], claims: Tensor, answers: Tensor) -> list[Tensor]:
    """Beyond nothing the answer stands alone."""
    return [*bases, claims, answers] if bases else [answers]
