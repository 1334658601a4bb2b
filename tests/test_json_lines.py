import json
import logging
from pathlib import Path

import pytest

from common.errors import NlaError
from common.json_lines import parse_json, read_lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


def test_a_line_ends_at_a_line_feed_alone(file: Path, caplog: pytest.LogCaptureFixture):
    texts = ["a\u2028b", "c\u2029d\x85e", "f\x0bg\x1ch", "i"]
    rows = [{"explanation": text} for text in texts]
    file.write_text("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows), newline="")
    assert list(read_lines(file)) == rows
    assert not caplog.records


@pytest.mark.parametrize(
    "bad", [b'{"key": "d', b"[1]", b"[" * 100_000, b'"\xff"', b"9" * 5000], ids=range(5)
)
def test_a_bad_line_is_named_and_what_follows_is_read(
    file: Path, caplog: pytest.LogCaptureFixture, bad: bytes
):
    file.write_bytes(b'{"key": 1}\n' + bad + b'\n\n{"key": 2}\n')
    with caplog.at_level(logging.WARNING):
        assert list(read_lines(file)) == [{"key": 1}, {"key": 2}]
    (record,) = caplog.records
    assert record.getMessage() == f"line left out, it holds no JSON object [{file}:2]"


def test_the_torn_last_line_of_a_killed_run_is_left_out_without_a_word(
    file: Path, caplog: pytest.LogCaptureFixture
):
    file.write_bytes('{"key": 1}\n{"text": "é'.encode()[:-1])
    assert list(read_lines(file)) == [{"key": 1}]
    assert not caplog.records


def test_no_file_has_no_lines(file: Path):
    assert list(read_lines(file)) == []
    file.touch()
    assert list(read_lines(file)) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"a": 1,\n}', r"\(.+\) \[x\.json:9\]"),
        ("[" * 100_000, r"nested too deep\) \[x\.json:7\]"),
        ("9" * 5000, r"digits.*\[x\.json:7\]"),
        (b'"\xff"', r"utf-8.*\[x\.json:7\]"),
    ],
)
def test_what_is_no_json_is_one_line_that_names_file_and_line(text: str | bytes, said: str):
    with pytest.raises(NlaError, match=f"not valid JSON .*{said}: mend it") as caught:
        parse_json(text, "x.json", "mend it", line=7)
    assert "\n" not in str(caught.value)
