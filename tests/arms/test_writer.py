"""Arms in which nothing is trained: a writer that is given, and the pair's AR."""

import polars as pl
import pytest

from common.arms.writer import WriterArm
from common.lifecycle.make import make_run
from common.profile import Profile
from common.trunk.artefacts import Trunk
from tests.arms.made import plan_of


class Copier:
    """Writes the end of the input."""

    def write(self, items: pl.DataFrame, samples: int, seed: int) -> list[str]:
        return [text[-40:] for text in items["text"] for _ in range(samples)]


class CopierArm(WriterArm):
    """Trains nothing."""

    def writer(self, trunk: Trunk) -> Copier:
        return Copier()


@pytest.mark.usefixtures("warm")
def test_a_writer_is_tested_without_training(two_steps: Profile):
    one = CopierArm(plan_of(two_steps, "copier", seeds=(0, 1, 2, 3)))
    assert one.seeds == (0, 1), "one for each pair, whose ARs read"
    folder = make_run(one, 0)
    written = pl.read_parquet(folder.texts_file)
    assert written["explanation"].str.len_chars().max() == 40
    assert not folder.checkpoint.exists()
    rows, measures = pl.read_parquet(folder.rows_file), pl.read_parquet(folder.measures_file)
    assert rows.filter("applied")["squared_error"].is_finite().all()
    assert set(rows["arm"]) == set(measures["arm"]) == {"copier"}
    assert "true_loss" not in set(measures["measure"]), "who has no AV has no loss"
