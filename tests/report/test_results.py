import polars as pl
import pytest
from polars.testing import assert_frame_equal

from common.errors import NlaError
from common.report.results import TABLES, Results, load_results, save_results


def test_saving_and_loading_gives_the_same_results(results: Results, tmp_path):
    save_results(tmp_path / "new", results)
    loaded = load_results(tmp_path / "new")
    for name in TABLES:
        assert_frame_equal(getattr(loaded, name), getattr(results, name))
    assert loaded.facts == results.facts
    assert loaded.text_metrics == results.text_metrics


def test_control_comes_first_and_floors_are_no_arms(results: Results):
    assert results.arms == ["control", "input_aware", "small"]
    assert results.floors[:3] == ["mean_direction", "tfidf_ridge", "embedding_ridge"]
    assert results.sources == ["teacher", "av"]


def test_neutral_ars_are_one_source_and_several_readers(results: Results):
    parts = [
        results.rows.with_columns(source=pl.lit(f"av_neutral_ar{end}")) for end in ("", "_0", "_1")
    ]
    found = results._replace(rows=pl.concat([results.rows, *parts]))
    assert found.sources == ["teacher", "av", "av_neutral_ar"]
    assert found.readers("av_neutral_ar") == ["av_neutral_ar_0", "av_neutral_ar_1"]
    assert found.readers("av") == ["av"]
    alone = results._replace(rows=parts[0])
    assert alone.readers("av_neutral_ar") == ["av_neutral_ar"]


def test_missing_file_is_named(results: Results, tmp_path):
    save_results(tmp_path, results)
    (tmp_path / "curves.parquet").unlink()
    with pytest.raises(NlaError, match=r"lack curves\.parquet .*nla collect"):
        load_results(tmp_path)


@pytest.mark.parametrize("name", ["rows.parquet", "summary.json", "metrics.json"])
def test_results_that_someone_changed_are_refused(results: Results, tmp_path, name: str):
    (tmp_path / "metrics.json").write_text('{"control/av_fve": 0.4}')
    save_results(tmp_path, results)
    load_results(tmp_path)
    if name == "rows.parquet":
        doubled = results.rows.with_columns(pl.col("squared_error") * 2)
        doubled.write_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text((tmp_path / name).read_text().replace("0", "1"))
    with pytest.raises(NlaError, match=rf"{name} changed since its manifest.*nla collect"):
        load_results(tmp_path)


def test_results_that_were_killed_among_their_tables_are_refused(
    results: Results, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    save_results(tmp_path, results)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("common.report.results.write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        save_results(tmp_path, results)
    with pytest.raises(NlaError, match=r"missing artefact.*nla collect"):
        load_results(tmp_path)


def test_missing_fact_and_column_are_named(results: Results, tmp_path):
    facts = {name: fact for name, fact in results.facts.items() if name != "variance"}
    broken = results._replace(facts=facts, rows=results.rows.drop("cosine"))
    with pytest.raises(NlaError, match=r"lack variance, rows\.cosine"):
        save_results(tmp_path, broken)


def test_arms_without_control_are_refused(results: Results, tmp_path):
    without = {
        name: getattr(results, name).filter(pl.col("arm") != "control")
        for name in ("rows", "runs", "curves")
    }
    with pytest.raises(NlaError, match="no arm is named 'control'"):
        save_results(tmp_path, results._replace(**without))
