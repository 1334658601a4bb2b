import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from common.config import CorpusConfig
from common.data.corpus import COLUMNS, build_corpus, clean, load_corpus, split_of
from common.errors import NlaError
from common.schema import DESCRIPTION, DOC_ID, SPLIT, SPLITS, TEXT, TITLE, TOPIC

ONE_SPLIT = {"rl": 1.0}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "made" / "corpus.parquet"


def folder_config(folder: Path, **values: object) -> CorpusConfig:
    settings = {"source": str(folder), "min_characters": 0, "fractions": ONE_SPLIT} | values
    return CorpusConfig.model_validate(settings)


def build_folder(folder: Path, out: Path, **values: object) -> pl.DataFrame:
    build_corpus(folder_config(folder, **values), out)
    return load_corpus(out)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "texts"
    made.mkdir()
    return made


class TestClean:
    @pytest.mark.parametrize(
        ("raw", "wanted"),
        [
            ("A  b\n\tc\xa0d", "A b c d"),
            ("Dante ( ; 1265) wrote", "Dante (1265) wrote"),
            ("Dante (, also, Italian: [\u02c8dante]; 1265) wrote", "Dante (1265) wrote"),
            ("The cello ( CHEL-oh) is", "The cello is"),
            ("A boson ( ) has", "A boson has"),
            ("no. 14 in D minor ; the", "no. 14 in D minor; the"),
            ("the (DNA-binding) part (a; b)", "the (DNA-binding) part (a; b)"),
            ("cafe\u0301", "caf\u00e9"),
            ("zero\u200bwidth \ud800", "zerowidth"),
            ("a\x00b\x1b[0m\u202e c\u2028d", "ab[0m c d"),
            ("e\u200b\u0301", "\u00e9"),
        ],
    )
    def test_what_encyclopedia_extracts_leave_behind_is_mended(self, raw: str, wanted: str):
        assert clean(raw) == wanted

    def test_a_clean_text_stays(self):
        text = clean("A (good; short) text, with .5 and f(x).")
        assert clean(text) == text == "A (good; short) text, with .5 and f(x)."


class TestTiny:
    def test_it_has_all_splits_and_articles_of_60_to_100_words(self, out: Path):
        build_corpus(CorpusConfig(source="tiny", min_characters=0), out)
        corpus = load_corpus(out)
        assert tuple(corpus.columns) == COLUMNS
        assert corpus.height == 400
        assert set(corpus[SPLIT]) == set(SPLITS)
        assert corpus[TEXT].str.split(" ").list.len().is_between(60, 100).all()
        assert corpus[TOPIC].n_unique() == 6
        assert corpus.null_count().sum_horizontal().item() == 0

    def test_it_is_the_same_every_time(self, out: Path, tmp_path: Path):
        config = CorpusConfig(source="tiny")
        build_corpus(config, out)
        build_corpus(config, tmp_path / "again.parquet")
        assert load_corpus(out).equals(load_corpus(tmp_path / "again.parquet"))


class TestFolder:
    def test_txt_and_jsonl_are_read_with_their_titles(self, folder: Path, out: Path):
        (folder / "walden.txt").write_text("I went to the woods.")
        (folder / "b.jsonl").write_text(
            '{"text": "One."}\n\n{"text": "Two.", "title": "T", "description": "D", "topic": "P"}\n'
        )
        rows = build_folder(folder, out).select(TEXT, TITLE, DESCRIPTION, TOPIC).rows()
        assert rows == [
            ("One.", None, None, None),
            ("Two.", "T", "D", "P"),
            ("I went to the woods.", "walden", None, None),
        ]

    def test_suffixes_may_be_capital_letters(self, folder: Path, out: Path):
        (folder / "ONE.TXT").write_text("the first")
        (folder / "THREE.JsonL").write_text('{"text": "the third"}')
        pl.DataFrame({TEXT: ["the fourth"]}).write_parquet(folder / "four.PARQUET")
        (folder / "two.txt").write_text("the second")
        rows = build_folder(folder, out).select(TEXT, TITLE).rows()
        assert rows == [
            ("the first", "ONE"),
            ("the third", None),
            ("the fourth", None),
            ("the second", "two"),
        ]

    def test_files_that_are_left_out_are_counted_and_named(
        self, folder: Path, out: Path, caplog: pytest.LogCaptureFixture
    ):
        (folder / "a.txt").write_text("the only one")
        (folder / "below").mkdir()
        for name in ("b.pdf", "c.md", "below/d.txt.gz", "e", "f.json", "g.csv"):
            (folder / name).touch()
        assert build_folder(folder, out).height == 1
        manifest = json.loads(out.with_suffix(".manifest.json").read_text())
        assert manifest["dropped"] == {"short": 0, "duplicate": 0, "other_kind": 6}
        (record,) = caplog.records
        assert record.getMessage() == (
            f"files left out that are no .txt, .jsonl or .parquet: 6 [{folder}]: "
            "b.pdf, below/d.txt.gz, c.md, e, f.json, ..."
        )

    def test_a_line_ends_at_a_line_feed_alone(self, folder: Path, out: Path):
        record = json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False)
        (folder / "a.jsonl").write_text(record + "\n", encoding="utf-8")
        assert build_folder(folder, out)[TEXT].to_list() == ["a b c"]

    def test_dropped_documents_are_counted(self, folder: Path, out: Path):
        texts = ["long enough", "long  enough", "short", "another one"]
        (folder / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        corpus = build_folder(folder, out, min_characters=8)
        manifest = json.loads(out.with_suffix(".manifest.json").read_text())
        assert corpus[TEXT].to_list() == ["long enough", "another one"]
        assert manifest["dropped"] == {"short": 1, "duplicate": 1}
        assert manifest["documents"] == 2

    def test_ids_do_not_depend_on_the_neighbours(self, folder: Path, out: Path):
        (folder / "b.txt").write_text("the same text")
        alone = build_folder(folder, out)[DOC_ID].to_list()
        (folder / "a.txt").write_text("a neighbour")
        assert build_folder(folder, out)[DOC_ID].to_list()[1:] == alone

    def test_a_byte_order_mark_is_no_text(self, folder: Path, out: Path):
        (folder / "a.txt").write_bytes(b"\xef\xbb\xbfHello there")
        assert build_folder(folder, out)[TEXT].to_list() == ["Hello there"]


ROWS = {
    TEXT: ["One.", None, "Three."],
    TITLE: ["T", "nothing", None],
    TOPIC: ["P", None, None],
    "embedding": [[0.5], [1.0], None],
}


class TestParquet:
    def test_it_is_read_from_a_folder_and_by_itself(self, folder: Path, out: Path):
        file = folder / "train[0]*-of-1.parquet"
        pl.DataFrame(ROWS).write_parquet(file, row_group_size=1)
        for source in (folder, file):
            rows = build_folder(source, out).select(TEXT, TITLE, DESCRIPTION, TOPIC).rows()
            assert rows == [("One.", "T", None, "P"), ("Three.", None, None, None)]
        manifest = json.loads(out.with_suffix(".manifest.json").read_text())
        assert manifest["dropped"] == {"short": 1, "duplicate": 0}, "a row without a text is short"

    def test_a_file_that_has_changed_is_read_anew(self, folder: Path, out: Path):
        file = folder / "a.parquet"
        for text in ("before", "behind"):
            pl.DataFrame({TEXT: [text]}).write_parquet(file)
            os.utime(file, (0, 0))
            assert build_folder(folder, out)[TEXT].to_list() == [text]

    def test_without_a_column_of_texts(self, folder: Path, out: Path):
        pl.DataFrame({"body": ["a"], "id": [1]}).write_parquet(folder / "a.parquet")
        with pytest.raises(NlaError, match=r"no column 'text' among body, id .*a\.parquet"):
            build_folder(folder, out)

    @pytest.mark.parametrize("column", [TEXT, TITLE])
    def test_a_column_of_numbers(self, folder: Path, out: Path, column: str):
        pl.DataFrame({TEXT: ["a"]} | {column: [1]}).write_parquet(folder / "a.parquet")
        with pytest.raises(NlaError, match=rf"'{column}'.* \[.*a\.parquet: row 1\]"):
            build_folder(folder, out)

    @pytest.mark.parametrize("content", [b"", b"PAR1 torn"])
    def test_a_damaged_file(self, folder: Path, out: Path, content: bytes, capfd: Any):
        (folder / "a.parquet").write_bytes(content)
        with pytest.raises(NlaError, match=r"unreadable Parquet \(.*a\.parquet") as caught:
            build_folder(folder, out)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", "One."), ("a.TXT", "One."), ("a.jsonl", '{"text": "One."}')]
)
def test_a_source_may_be_one_file(tmp_path: Path, out: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    assert build_folder(tmp_path / name, out)[TEXT].to_list() == ["One."]


def test_summaries_are_read_by_title(tmp_path: Path, out: Path):
    file = tmp_path / "summaries.json"
    record = {"title": "Hat", "extract": "A hat ( ) is worn.", "description": None, "topic": "Life"}
    file.write_text(json.dumps({"Hat": record}))
    build_corpus(folder_config(file), out)
    row = load_corpus(out).row(0, named=True)
    assert (row[TEXT], row[TITLE], row[DESCRIPTION], row[TOPIC]) == (
        "A hat is worn.",
        "Hat",
        None,
        "Life",
    )


class TestSplit:
    def test_shares_come_out_as_asked(self):
        fractions = {"rl": 0.5, "av_sft": 0.3, "test": 0.2}
        splits = [split_of(f"doc{index}", fractions) for index in range(4000)]
        for split, fraction in fractions.items():
            assert splits.count(split) / 4000 == pytest.approx(fraction, abs=0.03)

    def test_a_document_keeps_its_split_when_a_later_share_changes(self):
        before = {"av_sft": 0.3, "rl": 0.5, "test": 0.2}
        after = {"av_sft": 0.3, "rl": 0.6, "test": 0.1}
        ids = [f"doc{index}" for index in range(300)]
        first = [doc for doc in ids if split_of(doc, before) == "av_sft"]
        assert first
        assert first == [doc for doc in ids if split_of(doc, after) == "av_sft"]

    def test_the_order_in_which_fractions_are_written_does_not_matter(self):
        one, other = {"av_sft": 0.4, "test": 0.6}, {"test": 0.6, "av_sft": 0.4}
        assert all(split_of(str(i), one) == split_of(str(i), other) for i in range(200))


class TestErrors:
    def test_missing_folder(self, tmp_path: Path, out: Path):
        with pytest.raises(NlaError, match=r"no such folder .*nowhere"):
            build_corpus(folder_config(tmp_path / "nowhere"), out)

    def test_empty_folder(self, folder: Path, out: Path):
        with pytest.raises(NlaError, match=r"no \.txt, \.jsonl or \.parquet files"):
            build_folder(folder, out)

    def test_everything_dropped(self, folder: Path, out: Path):
        (folder / "a.txt").write_text("short")
        with pytest.raises(NlaError, match=r"no documents.*'short': 1"):
            build_folder(folder, out, min_characters=100)

    def test_corrupt_line_is_named(self, folder: Path, out: Path):
        (folder / "a.jsonl").write_text('{"text": "fine"}\n{"text": "torn')
        with pytest.raises(NlaError, match=r"a\.jsonl:2"):
            build_folder(folder, out)

    @pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
    def test_what_is_nested_too_deep_is_named(self, folder: Path, out: Path, name: str):
        deep = '{"text": ' + "[" * 100_000
        (folder / name).write_text(deep)
        with pytest.raises(NlaError, match=rf"nested too deep.*{name}:1") as caught:
            build_folder(folder / name, out)
        assert "\n" not in str(caught.value)

    def test_a_file_of_another_kind(self, folder: Path, out: Path):
        (folder / "a.csv").write_text("text\nOne.")
        with pytest.raises(NlaError, match=r"no \.txt, .* or \.json file \[.*a\.csv\]"):
            build_folder(folder / "a.csv", out)

    def test_a_file_that_is_not_there(self, folder: Path, out: Path):
        (folder / "a.txt").symlink_to(folder / "nowhere")
        with pytest.raises(NlaError, match=r"cannot be read \(No such file.*a\.txt"):
            build_folder(folder, out)

    @pytest.mark.parametrize("line", ['{"title": "no text"}', '"a string"', '{"text": 3}', "[]"])
    def test_line_without_text_is_named(self, folder: Path, out: Path, line: str):
        (folder / "a.jsonl").write_text(line)
        with pytest.raises(NlaError, match=r"no text in field 'text' .*a\.jsonl:1"):
            build_folder(folder, out)

    def test_title_that_is_no_string(self, folder: Path, out: Path):
        (folder / "a.jsonl").write_text('{"text": "fine", "title": 3}')
        with pytest.raises(NlaError, match=r"'title' is not a string .*a\.jsonl:1"):
            build_folder(folder, out)

    def test_undecodable_file(self, folder: Path, out: Path):
        (folder / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(NlaError, match=r"not UTF-8 \(byte 3\) .*a\.txt"):
            build_folder(folder, out)

    @pytest.mark.parametrize("fractions", [{"rl": 0.5}, {"rl": 1.5, "test": -0.5}, {}])
    def test_fractions_that_are_no_shares(self, folder: Path, out: Path, fractions: dict):
        (folder / "a.txt").write_text("text")
        with pytest.raises(NlaError, match=r"corpus\.fractions"):
            build_folder(folder, out, fractions=fractions)

    def test_unknown_split(self, folder: Path, out: Path):
        with pytest.raises(ValidationError, match=r"unknown split, choose from av_sft"):
            build_folder(folder, out, fractions={"train": 1.0})

    def test_split_that_got_no_document(self, folder: Path, out: Path):
        (folder / "a.txt").write_text("the only one")
        with pytest.raises(NlaError, match="too few documents: none fell into"):
            build_folder(folder, out, fractions={"rl": 0.5, "test": 0.5})

    def test_missing_corpus_names_its_stage(self, out: Path):
        with pytest.raises(NlaError, match="dvc repro corpus"):
            load_corpus(out)

    def test_damaged_corpus(self, folder: Path, out: Path):
        (folder / "a.txt").write_text("the only one")
        build_folder(folder, out)
        pl.read_parquet(out).clear().write_parquet(out)
        with pytest.raises(NlaError, match="changed since its manifest was written"):
            load_corpus(out)
        out.write_bytes(b"torn")
        with pytest.raises(NlaError, match=r"corrupt Parquet.*dvc repro corpus"):
            load_corpus(out)
