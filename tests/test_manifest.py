import hashlib
import json
import os
from pathlib import Path

import polars as pl
import pytest

from common.errors import NlaError
from common.manifest import (
    check_content,
    content_of,
    digest_of,
    manifest_file,
    read_artefact,
    read_manifest,
    read_table,
    replace_text,
    withdraw_manifest,
    write_artefact,
    write_manifest,
)


def refused(artefact: Path, match: str, **expected: object) -> None:
    with pytest.raises(NlaError, match=match) as caught:
        read_manifest(artefact, made_by="corpus", **expected)
    assert "\n" not in str(caught.value)
    assert "dvc repro corpus" in str(caught.value)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "activations"
    folder.mkdir()
    write_manifest(folder, kind="activations", layers=(8, 3), rows=60)
    return folder


def test_a_digest_is_that_of_the_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,2.5],"b":"x"}').hexdigest()[:12]
    assert digest_of({"b": "x", "a": (1, 2.5)}) == expected
    assert digest_of({"b": "x", "a": (2.5, 1)}) != expected


def test_a_manifest_lies_in_a_folder_or_beside_a_file():
    assert manifest_file(Path("data/activations")) == Path("data/activations/manifest.json")
    assert manifest_file(Path("data/corpus.parquet")) == Path("data/corpus.manifest.json")
    assert manifest_file(Path("data/a.b.parquet")) == Path("data/a.b.manifest.json")


@pytest.mark.parametrize("name", ["smollm2-v1.5", "smollm2-v1.6", "a.b.c", "qwen2.5", "x.parquet"])
def test_a_folder_with_a_dot_in_its_name_holds_its_manifest(tmp_path: Path, name: str):
    folder = tmp_path / name
    if not name.endswith(".parquet"):
        assert manifest_file(folder) == folder / "manifest.json", "also before it exists"
    folder.mkdir()
    assert manifest_file(folder) == folder / "manifest.json"
    write_manifest(folder, kind="released", name=name)
    assert read_manifest(folder, "released")["name"] == name
    assert [*tmp_path.iterdir()] == [folder]


def test_what_is_written_is_read_and_has_a_digest(artefact: Path):
    fields = read_manifest(artefact, "activations", kind="activations", layers=(8, 3))
    written = {"kind": "activations", "layers": [8, 3], "rows": 60, "files": {}}
    written["content"] = digest_of({})
    assert fields == {**written, "digest": digest_of(written)}


def test_the_digest_changes_with_any_field(artefact: Path):
    before = read_manifest(artefact, "activations")["digest"]
    write_manifest(artefact, kind="activations", layers=(8, 3), rows=61)
    assert read_manifest(artefact, "activations")["digest"] != before


def test_the_digest_changes_with_the_content_alone(artefact: Path):
    before = read_manifest(artefact, "activations")["digest"]
    (artefact / "notes.txt").write_text("no data")
    write_manifest(artefact, kind="activations", layers=(8, 3), rows=60)
    assert read_manifest(artefact, "activations")["digest"] == before
    (artefact / "shard-00000.parquet").write_bytes(b"rows")
    write_manifest(artefact, kind="activations", layers=(8, 3), rows=60)
    assert read_manifest(artefact, "activations")["digest"] != before


def test_the_content_of_weights_is_not_the_order_of_their_header(tmp_path: Path):
    """Which safetensors leaves to chance."""

    def content(header: dict[str, str], weights: bytes) -> str:
        text = json.dumps(header).encode()
        file = tmp_path / "av.safetensors"
        file.write_bytes(len(text).to_bytes(8, "little") + text + weights)
        return content_of(tmp_path)

    first = content({"layer": "8", "alpha": "2"}, b"one")
    assert first == content({"alpha": "2", "layer": "8"}, b"one")
    assert first != content({"alpha": "2", "layer": "9"}, b"one")
    assert first != content({"layer": "8", "alpha": "2"}, b"two")


def test_a_text_is_replaced_whole_and_left_alone_when_it_is_the_same(tmp_path: Path):
    file = tmp_path / "plan.txt"
    replace_text(file, "one")
    os.utime(file, (0, 0))
    replace_text(file, "one")
    assert file.stat().st_mtime == 0
    replace_text(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"kind": "corpus"}, "kind is 'activations', expected 'corpus'"),
        ({"layers": (3, 8)}, r"layers is \[8, 3\], expected \(3, 8\)"),
        ({"tokenizer": "abc"}, "tokenizer is None, expected 'abc'"),
    ],
)
def test_drift_is_refused(artefact: Path, expected: dict[str, object], message: str):
    refused(artefact, message, **expected)


def test_a_missing_artefact_or_manifest_is_refused(artefact: Path, tmp_path: Path):
    refused(tmp_path / "nowhere", "missing artefact")
    (artefact / "manifest.json").unlink()
    refused(artefact, "missing artefact")


def test_a_manifest_without_its_artefact_is_refused(tmp_path: Path):
    file = tmp_path / "corpus.parquet"
    file.write_bytes(b"rows")
    write_manifest(file, kind="corpus")
    file.unlink()
    refused(tmp_path / "corpus.parquet", "missing artefact")


def test_half_a_manifest_is_refused(artefact: Path):
    file = artefact / "manifest.json"
    file.write_text(file.read_text()[:20])
    refused(artefact, r"not valid JSON \(Unterminated string.*manifest\.json:2")


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"rows": ' + "9" * 5000 + "}", "\xff"])
def test_a_manifest_that_is_none_is_refused(artefact: Path, text: str):
    (artefact / "manifest.json").write_bytes(text.encode("latin-1"))
    refused(artefact, r"not valid JSON|not a manifest.*manifest\.json")


def test_a_manifest_is_sorted_json_for_people_and_diffs(artefact: Path):
    text = (artefact / "manifest.json").read_text()
    assert list(json.loads(text)) == ["content", "digest", "files", "kind", "layers", "rows"]
    assert text.endswith("}\n")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.parquet"
    pl.DataFrame({"key": ["a"], "value": [1]}).write_parquet(file)
    write_manifest(file, kind="corpus")
    return file


def test_a_foreign_table_is_told_by_its_columns(table: Path):
    assert read_table(table, "corpus", ["key", "value"]).height == 1
    with pytest.raises(NlaError, match=r"foreign Parquet: it lacks text.*dvc repro corpus"):
        read_table(table, "corpus", ["key", "text"])


def test_a_table_that_someone_changed_is_refused(table: Path):
    assert read_artefact(table, "corpus", kind="corpus").height == 1
    pl.DataFrame({"key": ["b"], "value": [1]}).write_parquet(table)
    with pytest.raises(NlaError, match=r"changed since.*dvc repro corpus"):
        read_artefact(table, "corpus", kind="corpus")


@pytest.mark.parametrize("change", ["changed", "lost", "added"])
def test_the_file_that_differs_is_named(tmp_path: Path, change: str):
    folder = tmp_path / "target"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(b"as it was")
    write_manifest(folder, kind="target")
    fields = read_manifest(folder, "target")
    check_content(folder, fields, "target")
    name = {"changed": "config.json", "lost": "model.safetensors", "added": "a.jinja"}[change]
    if change == "lost":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(b"otherwise")
    with pytest.raises(NlaError, match=f"{name} {change} since its.*dvc repro target"):
        check_content(folder, fields, "target")


def test_the_files_that_differ_are_counted(tmp_path: Path):
    folder = tmp_path / "target"
    folder.mkdir()
    write_manifest(folder, kind="target")
    fields = read_manifest(folder, "target")
    for name in "ab":
        (folder / f"{name}.json").write_text("{}")
    with pytest.raises(NlaError, match=r"a\.json and 1 more added since"):
        check_content(folder, fields, "target")


def test_a_manifest_from_before_files_were_named_certifies_nothing(table: Path):
    file = table.with_suffix(".manifest.json")
    fields = json.loads(file.read_text())
    del fields["files"]
    file.write_text(json.dumps(fields))
    with pytest.raises(NlaError, match=r"corpus\.parquet added since"):
        read_artefact(table, "corpus")


@pytest.mark.parametrize("killed", ["withdraw_manifest", "write_atomically", "write_manifest"])
def test_a_kill_between_table_and_manifest_leaves_nothing_certified_but_the_old_whole(
    table: Path, monkeypatch: pytest.MonkeyPatch, killed: str
):
    def kill(*_: object, **fields: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"common.manifest.{killed}", kill)
        with pytest.raises(KeyboardInterrupt):
            write_artefact(pl.DataFrame({"key": ["b"]}), table, kind="corpus")
    if killed == "withdraw_manifest":
        assert read_artefact(table, "corpus")["key"].to_list() == ["a"]
    else:
        with pytest.raises(NlaError, match="missing artefact"):
            read_artefact(table, "corpus")
    write_artefact(pl.DataFrame({"key": ["b"]}), table, kind="corpus")
    assert read_artefact(table, "corpus")["key"].to_list() == ["b"]


def test_to_withdraw_what_was_never_made_is_nothing(tmp_path: Path):
    withdraw_manifest(tmp_path / "nowhere" / "target")
    withdraw_manifest(tmp_path / "nowhere" / "corpus.parquet")


@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_a_manifest_that_is_no_object_is_refused(artefact: Path, text: str):
    (artefact / "manifest.json").write_text(text)
    refused(artefact, "not valid JSON")


def test_torn_weights_have_a_digest_too(tmp_path: Path):
    for content in (b"", b"torn", b"\xff" * 40, (10**6).to_bytes(8, "little") + b"{}"):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert len(content_of(tmp_path)) == 12
