"""Held-out activations with what is known of them without an explanation, and errors beyond it."""

from collections.abc import Mapping
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
    bases: Mapping[int, Float[Tensor, "rows d_model"]]
    """{k: prediction of n(h) from the last k tokens}; μ where k = 0."""


class Fitted(NamedTuple):
    """How a reader's answers are combined with each base; fitted on dev."""

    is_normal: bool
    """Whether the answers are taken as n(ĥ), or as given."""
    stacks: Mapping[int, Stack]


class Beyond:
    """Errors of answers on test rows, combined with each base by scalars fitted on dev rows."""

    def __init__(self, dev: HeldOut, test: HeldOut, mean: Float[Tensor, " d_model"]) -> None:
        """`mean` is μ."""
        self.dev, self.test, self.mean = dev, test, mean
        self.variances: dict[str, float] = {}
        """{`beyond_<k>`: mean ||n(h) - base'||² of the test rows}, the denominators."""
        for count, base in test.bases.items():
            scale = fit_stack(mean, dev.activations, dev.bases[count])
            errors = stack_errors(scale, mean, test.activations, base)
            self.variances[beyond_name(count)] = float(errors.mean())

    def fit(self, answers: Float[Tensor, "rows d_model"]) -> Fitted:
        """From a reader's answers to a writer's dev texts, one for each dev row."""
        form, is_normal = better_form(self.mean, self.dev.activations, answers)
        stacks = {
            count: fit_stack(self.mean, self.dev.activations, base, form)
            for count, base in self.dev.bases.items()
        }
        return Fitted(is_normal, stacks)

    def errors(
        self, fitted: Fitted, rows: list[int], answers: Float[Tensor, "rows d_model"]
    ) -> dict[str, Float[Tensor, " rows"]]:
        """{column: errors of the answers} to texts of some test rows."""
        form = normalize(answers) if fitted.is_normal else answers
        truth, places = self.test.activations[rows], torch.tensor(rows, dtype=torch.long)
        return {
            error_column(count): stack_errors(
                stack, self.mean, truth, self.test.bases[count][places], form
            )
            for count, stack in fitted.stacks.items()
        }
