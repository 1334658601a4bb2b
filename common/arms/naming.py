"""Whether the arms' explanations name the last word of the source, with or without quoting it."""

from collections.abc import Sequence

import polars as pl
import torch

from common.arms.arm import Arm
from common.arms.evaluation import Collected, Evaluation
from common.evaluation.conditions import other_documents
from common.evaluation.spoken import measures_of
from common.evaluation.test_set import TestSet
from common.metrics.words import words
from common.schema import DOC_ID, TEXT

MEASURE = "names_last"


class LastWord(Evaluation):
    """`names_last`: 1 where the source's last word is one of the explanation's words, else 0.

    And `names_last_excess`: that minus the same with the explanation of another document. Taken
    from the texts that the arms' runs have kept.
    """

    name = "last_word"
    has_stage = False

    def collect(self, arms: Sequence[Arm]) -> Collected:
        """Of each arm that has written texts."""
        frames = []
        for arm in arms:
            for seed in arm.seeds:
                run = arm.run_folder(seed)
                if run.texts_file.exists():
                    own = _named(arm.test_set(seed), run.table(run.texts_file))
                    frames.append(own.with_columns(arm=pl.lit(arm.label), seed=pl.lit(seed)))
        return Collected(measures=pl.concat(frames) if frames else None)


def _named(tests: TestSet, written: pl.DataFrame) -> pl.DataFrame:
    texts, table = tests.written_in(written).test, tests.table
    named = names_last(texts, table[TEXT].to_list(), other_documents(table[DOC_ID].to_list()))
    return measures_of(table, {name: torch.tensor(values) for name, values in named.items()})


def names_last(
    texts: Sequence[str], sources: Sequence[str], others: Sequence[int]
) -> dict[str, list[float]]:
    """Values by measure, one for each text; `others` are the rows of other documents' texts.

    0 where the source has no word. A word that is cut off must be given as it is.
    """
    said, last = [{*words(text)} for text in texts], [{*words(one)[-1:]} for one in sources]
    own = [float(bool(word & found)) for word, found in zip(last, said, strict=True)]
    chance = [float(bool(word & said[other])) for word, other in zip(last, others, strict=True)]
    excess = [a - b for a, b in zip(own, chance, strict=True)]
    return {MEASURE: own, f"{MEASURE}_excess": excess}
