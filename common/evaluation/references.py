"""How an AR reads texts that no AV has written: a floor for those that one has."""

import polars as pl

from common.evaluation.conditions import ORIGINAL
from common.evaluation.test_set import TestSet
from common.schema import Reader, View, nothing


def read_references(tests: TestSet, read: Reader, view: View = nothing) -> pl.DataFrame:
    """Rows of each reference writer, its name as source, as an arm's own AR reads its texts."""
    return pl.concat(
        tests.judge.rows(read, {ORIGINAL: [*texts.test]}, name, view, texts.dev)
        for name, texts in tests.references.items()
    )
