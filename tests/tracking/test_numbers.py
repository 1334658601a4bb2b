from pathlib import Path

import polars as pl
import pytest

from common.runs import MadeWith, RunFolder
from common.tracking.numbers import metric_name, neutral_numbers, numbers_of, run_numbers
from tests.tracking.folders import MADE, begun, rows, write_test


def finished(folder: RunFolder, error: float = 1.0) -> RunFolder:
    """With a text of its own."""
    write_test(folder, error)
    folder.texts_file.write_bytes(b"what it says")
    folder.finish({"variance": 4.0})
    return folder


def read_by_neutral_ar(run: RunFolder, root: Path) -> RunFolder:
    """A neutral AR that has read the run, and the floors beside it."""
    made = MadeWith({"data": {"corpus": "c0ffee", "control/0": run.said}}, {}, MADE.code)
    neutral = RunFolder(root / "smoke" / "neutral" / "x" / "0")
    neutral.begin(made)
    parts = [
        rows({"av_neutral_ar": (1.0, 3.0)}),
        rows({"av_neutral_ar": (3.0, 3.0)}, arm="small_ar", seed=0),
        rows({"av_neutral_ar": (8.0, 8.0), "av": (0.0, 0.0)}, arm="tfidf_ridge"),
    ]
    parts[0].vstack(parts[1]).vstack(parts[2]).write_parquet(neutral.rows_file)
    neutral.finish({"variance": 4.0, "missing_floors": {"embedding_ridge": "no embedder"}})
    return neutral


def test_fve_retrieval_and_means_of_whole_texts(tmp_path: Path):
    numbers = numbers_of(finished(begun(tmp_path, "x")))
    assert numbers == {
        "test/fve_av": 0.75,
        "test/fve_teacher": 0.25,  # (2 + 4) / 2 over a variance of 4: the third has no text
        "test/top1_av": pytest.approx(1 / 3),
        "test/top1_teacher": 0.5,
        "test/tokens": 5.0,
    }


def test_other_readers_of_the_avs_text_have_short_names(tmp_path: Path):
    folder = begun(tmp_path, "x")
    rows({"av_untrained_ar": (2.0,), "av_8": (4.0,)}).write_parquet(folder.rows_file)
    folder.finish({"variance": 4.0})
    numbers = numbers_of(folder)
    assert numbers["test/fve_untrained"] == 0.5
    assert numbers["test/fve_8"] == 0.0


def test_fve_beyond_the_last_tokens_where_it_was_measured(tmp_path: Path):
    folder = begun(tmp_path, "x")
    table = rows({"av": (2.0, 2.0), "teacher": (1.0,)})
    beyond = pl.when(pl.col("source") == "av").then(pl.lit(1.5)).alias("error_beyond_1")
    table.with_columns(beyond).write_parquet(folder.rows_file)
    folder.finish({"variance": 4.0, "variances": {"beyond_1": 2.0, "beyond_4": 1.0}})
    numbers = numbers_of(folder)
    assert numbers["test/beyond_1_av"] == 0.25
    assert {name for name in numbers if "beyond" in name} == {"test/beyond_1_av"}


def test_without_a_variance_there_is_no_fve(tmp_path: Path):
    folder = begun(tmp_path, "x")
    rows({"av": (2.0,)}).write_parquet(folder.rows_file)
    folder.finish({})
    assert numbers_of(folder) == {"test/top1_av": 1.0}


def test_an_unfinished_run_has_no_numbers(tmp_path: Path):
    folder = begun(tmp_path, "x")
    write_test(folder)
    assert numbers_of(folder) == {}


def test_a_number_of_the_summary_stands_nowhere_else(tmp_path: Path):
    folder = begun(tmp_path, "x")
    folder.log({"dev_fve": 0.1}, 0)
    told = {"dev_fve": 0.1, "learning_rate": 1e-3, "rate": 2, "variance": 4.0, "device": "CPU"}
    folder.finish(told | {"cost": {"tokens": 12}})
    assert run_numbers(folder) == {"total/rate": 2.0, "total/cost.tokens": 12.0}


def test_what_the_neutral_ar_reads_is_a_number_of_the_run_and_of_the_neutral_ar(tmp_path: Path):
    run = finished(begun(tmp_path, "x"))
    neutral = read_by_neutral_ar(run, tmp_path)
    expected = {"test/fve_neutral": 0.5, "test/top1_neutral": 0.5}
    assert neutral_numbers(run) == expected
    assert expected.items() <= numbers_of(run).items()
    numbers = numbers_of(neutral)
    assert numbers["texts/fve_control"] == 0.5
    assert numbers["texts/fve_small_ar"] == 0.25
    assert numbers["texts/fve_tfidf_ridge"] == -1.0


def test_a_neutral_ar_that_has_read_other_texts_tells_nothing_of_a_run(tmp_path: Path):
    run = finished(begun(tmp_path, "x"))
    read_by_neutral_ar(run, tmp_path)
    run.texts_file.write_bytes(b"another text")
    run.finish({"variance": 4.0})
    assert neutral_numbers(run) == {}
    assert neutral_numbers(finished(begun(tmp_path, "x", "control/1"))) == {}


def test_a_name_has_only_signs_that_mlflow_allows():
    assert metric_name("The AV's share/`a` - b, c") == "The AVs share/a - b_ c"
