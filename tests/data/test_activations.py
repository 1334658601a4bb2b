import errno
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from common.config import ActivationsConfig
from common.data import activations
from common.data import shards as shards_module
from common.data.activations import (
    extract_activations,
    load_activations,
    plan_documents,
    vectors_of,
)
from common.data.corpus import load_corpus
from common.errors import NlaError
from common.files import write_atomically
from common.manifest import read_manifest
from common.paths import TrunkPlaces
from common.schema import (
    AR_SFT,
    AV_SFT,
    DOC_ID,
    KEY,
    NEXT_TOKENS,
    POSITION,
    SPLIT,
    TEST,
    TEXT,
    TRAINING_SPLITS,
    TokenBatch,
)
from common.target.load import Target
from common.target.residual import Reading, read_residual
from common.target.text import encode_document
from tests.families import with_bos
from tests.tokenizers import sentencepiece

CONFIG = ActivationsConfig(layers=(8, 3), max_tokens=40, shard_rows=20, batch_tokens=400)


@pytest.fixture(scope="module")
def corpus(trunk_root: Path) -> pl.DataFrame:
    return load_corpus(trunk_root / TrunkPlaces("smoke").corpus).head(30)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, corpus: pl.DataFrame, target: Target) -> Path:
    """An uninterrupted extraction: 30 documents, 60 rows, 3 shards. Read only."""
    out = tmp_path_factory.mktemp("whole") / "activations"
    extract_activations(CONFIG, corpus, target, out)
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "activations")


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.glob("shard-*.parquet"))}


def one_line(caught: pytest.ExceptionInfo[NlaError], remedy: str) -> None:
    assert "\n" not in str(caught.value)
    assert remedy in str(caught.value)


def test_a_next_token_is_written_as_it_follows_the_text():
    """A SentencePiece token loses its space when it is decoded alone."""
    text = "The long road came to the valley in"
    tokenizer = sentencepiece([f"{text} March"])
    ids = encode_document(tokenizer, text)
    names = ["\u2581March", "ch", "</s>"]
    reading = Reading(
        {0: torch.zeros(1, 4)},
        torch.tensor([tokenizer.convert_tokens_to_ids(names)]),
        torch.tensor([[0.5, 0.25, 0.125]]),
    )
    document = activations.PlannedDocument("d", AR_SFT, ids, [len(ids) - 1])
    table = activations._table([document], reading, tokenizer)
    assert table[NEXT_TOKENS].to_list() == [[" March", "ch", "</s>"]]


def test_a_row_holds_the_source_up_to_its_position(whole: Path, target: Target):
    table = load_activations(whole)
    assert table.height == 60
    assert table[KEY].is_sorted()
    assert table[KEY].n_unique() == 60
    for row in table.head(10).iter_rows(named=True):
        assert row["key"] == f"{row['doc_id']}:{row['position']}"
        assert 16 <= row["position"] < 40
        assert len(row["token_ids"]) == row["position"] + 1
        assert row["text"] == target.tokenizer.decode(row["token_ids"])
        assert len(row["next_tokens"]) == len(row["next_probs"]) == 5
        assert row["next_probs"] == sorted(row["next_probs"], reverse=True)
        assert 0 < sum(row["next_probs"]) <= 1


def test_a_text_is_read_from_its_beginning_and_positions_count_it(
    corpus: pl.DataFrame, target: Target, tmp_path: Path
):
    begins = target._replace(tokenizer=with_bos(target.tokenizer))
    extract_activations(CONFIG, corpus, begins, tmp_path / "begun")
    table, texts = load_activations(tmp_path / "begun"), dict(corpus.select(DOC_ID, TEXT).rows())
    for row in table.head(10).iter_rows(named=True):
        whole = begins.tokenizer(texts[row["doc_id"]])["input_ids"]
        assert row["token_ids"] == whole[: row["position"] + 1]
        assert texts[row["doc_id"]].startswith(row["text"]), "the beginning is no text"
        own = target.model(input_ids=torch.tensor([row["token_ids"]]), output_hidden_states=True)
        vector = torch.tensor(row["activation_8"])
        assert torch.allclose(vector, own.hidden_states[9][0, -1], atol=1e-4)


def test_the_vectors_are_those_of_each_source_alone(whole: Path, target: Target):
    table = load_activations(whole).sample(8, seed=0)
    assert table.schema["activation_8"] == pl.Array(pl.Float32, 64)
    for row, ids in enumerate(table["token_ids"].to_list()):
        tokens = torch.tensor([ids])
        batch = TokenBatch(tokens, torch.ones_like(tokens, dtype=torch.bool))
        place = (torch.tensor([0]), torch.tensor([len(ids) - 1]))
        alone = read_residual(target.model, batch, [3, 8], place, choices=0).activations
        for layer in (3, 8):
            assert torch.allclose(vectors_of(table, layer)[row], alone[layer][0], atol=1e-5)


def test_the_manifest_says_what_the_vectors_are(whole: Path, target: Target):
    manifest = read_manifest(whole, "activations", kind="activations")
    described = {name: manifest[name] for name in ("layers", "d_model", "rows", "target")}
    assert described == {"layers": [8, 3], "d_model": 64, "rows": 60, "target": "tiny"}
    assert manifest["tokenizer"] == target.manifest["tokenizer"]
    training = vectors_of(load_activations(whole, TRAINING_SPLITS), 8)
    quartile = float(np.percentile(training.norm(dim=1).numpy(), 75))
    assert manifest["norm_percentiles"]["75"] == pytest.approx(quartile, abs=1e-3)


def test_low_precision_changes_little(
    whole: Path, corpus: pl.DataFrame, target: Target, tmp_path: Path
):
    out = tmp_path / "low"
    extract_activations(CONFIG.replace(precision="bfloat16"), corpus, target, out)
    low, high = (vectors_of(load_activations(folder), 8) for folder in (out, whole))
    assert not torch.equal(low, high)
    assert torch.nn.functional.cosine_similarity(low, high).min() > 0.999


def test_splits_and_columns_can_be_chosen(whole: Path):
    table = load_activations(whole, [AR_SFT, TEST], [DOC_ID, SPLIT])
    assert table.columns == [DOC_ID, SPLIT]
    assert set(table[SPLIT]) <= {AR_SFT, TEST}
    everything = load_activations(whole)
    assert table.height == everything.filter(pl.col(SPLIT).is_in([AR_SFT, TEST])).height


def test_positions_depend_on_the_document_alone(corpus: pl.DataFrame, target: Target):
    everyone = {d.doc_id: d for d in plan_documents(CONFIG, corpus, target.tokenizer)}
    half = plan_documents(CONFIG, corpus.reverse().head(15), target.tokenizer)
    assert len(everyone) == 30
    assert all(document == everyone[document.doc_id] for document in half)
    assert all(len(set(document.positions)) == 2 for document in half)
    assert all(len(document.token_ids) == document.positions[-1] + 1 for document in half)


def test_splits_are_limited_each_by_itself(corpus: pl.DataFrame, target: Target):
    limits = {"rl": 3, "av_sft": 0}
    planned = plan_documents(CONFIG.replace(documents=limits), corpus, target.tokenizer)
    found = [document.split for document in planned]
    expected = dict(corpus[SPLIT].value_counts().iter_rows()) | limits
    assert {split: found.count(split) for split in expected} == expected


def test_a_deleted_shard_is_made_again_alike(
    whole: Path, copy: Path, corpus: pl.DataFrame, target: Target
):
    (copy / "shard-00001.parquet").unlink()
    kept = (copy / "shard-00000.parquet").stat().st_mtime_ns
    extract_activations(CONFIG, corpus, target, copy)
    assert shards(copy) == shards(whole)
    assert (copy / "shard-00000.parquet").stat().st_mtime_ns == kept


def test_killed_and_resumed_is_like_uninterrupted(
    whole: Path,
    tmp_path: Path,
    corpus: pl.DataFrame,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
):
    out = tmp_path / "activations"

    def killed_at_the_second(frame: pl.DataFrame, file: Path) -> None:
        if file.name != "shard-00000.parquet":
            file.with_suffix(".partial").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        write_atomically(frame, file)

    with monkeypatch.context() as patch:
        patch.setattr(shards_module, "write_atomically", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            extract_activations(CONFIG, corpus, target, out)
    assert list(shards(out)) == ["shard-00000.parquet"]
    with pytest.raises(NlaError, match="missing artefact"):
        load_activations(out)
    extract_activations(CONFIG, corpus, target, out)
    assert shards(out) == shards(whole)
    assert (out / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_another_config_starts_afresh(copy: Path, corpus: pl.DataFrame, target: Target):
    extract_activations(CONFIG.replace(layers=(3,), shard_rows=1000), corpus, target, copy)
    assert list(shards(copy)) == ["shard-00000.parquet"]
    assert "activation_8" not in load_activations(copy).columns


def test_a_new_division_into_splits_starts_afresh(copy: Path, corpus: pl.DataFrame, target: Target):
    moved = corpus.with_columns(pl.lit(AV_SFT).alias(SPLIT))
    extract_activations(CONFIG, moved, target, copy)
    assert set(load_activations(copy)[SPLIT]) == {AV_SFT}


def test_a_foreign_shard_does_not_stay(
    whole: Path, copy: Path, corpus: pl.DataFrame, target: Target
):
    shutil.copy(copy / "shard-00000.parquet", copy / "shard-00009.parquet")
    with pytest.raises(NlaError, match=r"shard-00009\.parquet added since its manifest"):
        load_activations(copy)
    extract_activations(CONFIG, corpus, target, copy)
    assert shards(copy) == shards(whole)


@pytest.mark.parametrize("wrapped", [False, True], ids=["system error", "polars error"])
def test_a_full_disk_is_one_line_and_keeps_what_is_finished(
    whole: Path,
    tmp_path: Path,
    corpus: pl.DataFrame,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
    wrapped: bool,
):
    out, write = tmp_path / "activations", pl.DataFrame.write_parquet

    def full_after_one(frame: pl.DataFrame, file: Path) -> None:
        write(frame, file)
        if shards(out):
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise pl.exceptions.ComputeError(f"parquet: {error}") if wrapped else error

    with monkeypatch.context() as patch:
        patch.setattr(pl.DataFrame, "write_parquet", full_after_one)
        with pytest.raises(NlaError, match=r"disk is full.*shard-00001") as caught:
            extract_activations(CONFIG, corpus, target, out)
    one_line(caught, "run again: what is finished is kept")
    assert {file.name for file in out.iterdir()} == {"plan.txt", "shard-00000.parquet"}
    extract_activations(CONFIG, corpus, target, out)
    assert shards(out) == shards(whole)


def test_other_disk_errors_keep_their_traceback(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        write_atomically(pl.DataFrame({"a": [1]}), tmp_path / "no-folder" / "file.parquet")


@pytest.mark.parametrize("damage", ["truncated", "foreign columns", "not Parquet"])
def test_a_damaged_shard_is_one_line_with_a_remedy(copy: Path, damage: str):
    shard = copy / "shard-00001.parquet"
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "foreign columns":
        pl.DataFrame({"a": [1]}).write_parquet(shard)
    else:
        shard.write_text("no Parquet at all")
    with pytest.raises(NlaError, match="corrupt or foreign Parquet") as caught:
        load_activations(copy)
    one_line(caught, "dvc repro --force activations")


def test_a_shard_of_other_numbers_is_named_and_read_again(
    whole: Path, copy: Path, corpus: pl.DataFrame, target: Target
):
    """By the stage that the message names: it keeps the others."""
    shard, kept = copy / "shard-00001.parquet", copy / "shard-00000.parquet"
    column = pl.col("activation_8")
    altered = pl.read_parquet(shard).with_columns(column.arr.eval(pl.element() * 2))
    altered.cast({"activation_8": pl.Array(pl.Float32, 64)}).write_parquet(shard)
    with pytest.raises(NlaError, match=r"shard-00001\.parquet changed since its man") as caught:
        load_activations(copy, [AV_SFT], [KEY])
    one_line(caught, "dvc repro --force activations")
    before = kept.stat().st_mtime_ns
    extract_activations(CONFIG, corpus, target, copy)
    assert shards(copy) == shards(whole)
    assert kept.stat().st_mtime_ns == before
    assert (copy / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


@pytest.mark.parametrize("damage", ["other numbers", "not Parquet", "no digest"])
def test_an_interrupted_run_keeps_only_shards_that_are_as_they_were_written(
    whole: Path, copy: Path, corpus: pl.DataFrame, target: Target, damage: str
):
    (copy / "manifest.json").unlink()
    (copy / "shard-00002.parquet").unlink()
    shard, record = copy / "shard-00000.parquet", copy / "plan.txt"
    if damage == "other numbers":
        pl.read_parquet(shard).reverse().write_parquet(shard)
    elif damage == "not Parquet":
        shard.write_text("no Parquet at all")
    else:
        record.write_text("\n".join(record.read_text().splitlines()[:1]))
    extract_activations(CONFIG, corpus, target, copy)
    assert shards(copy) == shards(whole)
    load_activations(copy)


def test_the_old_manifest_goes_before_a_shard_is_written(
    copy: Path, corpus: pl.DataFrame, target: Target, monkeypatch: pytest.MonkeyPatch
):
    (copy / "shard-00002.parquet").unlink()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shards_module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        extract_activations(CONFIG, corpus, target, copy)
    with pytest.raises(NlaError, match="missing artefact"):
        load_activations(copy)


def test_a_lost_shard_is_noticed(copy: Path):
    (copy / "shard-00002.parquet").unlink()
    with pytest.raises(NlaError, match=r"shard-00002\.parquet lost since its manifest") as caught:
        load_activations(copy)
    one_line(caught, "dvc repro --force activations")


def test_a_missing_or_foreign_manifest_is_refused(copy: Path):
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"activations"', '"explanations"'))
    with pytest.raises(NlaError, match="kind is 'explanations', expected 'activations'") as caught:
        load_activations(copy)
    one_line(caught, "dvc repro activations")
    manifest.unlink()
    with pytest.raises(NlaError, match="missing artefact") as caught:
        load_activations(copy)
    one_line(caught, "dvc repro activations")


def test_texts_that_are_all_too_short_are_refused(target: Target, tmp_path: Path):
    short = pl.DataFrame({DOC_ID: ["a"], SPLIT: [AV_SFT], TEXT: ["Too short."]})
    with pytest.raises(NlaError, match="more than min_position = 16") as caught:
        extract_activations(CONFIG, short, target, tmp_path / "out")
    one_line(caught, "lower it")


def test_a_short_text_among_others_is_left_out(corpus: pl.DataFrame, target: Target):
    seventeen = target.tokenizer.decode(target.tokenizer.encode(corpus[TEXT][0])[:17])
    rows = {DOC_ID: ["a", "b"], SPLIT: [AV_SFT, AV_SFT], TEXT: ["Too short.", seventeen]}
    (planned,) = plan_documents(CONFIG, pl.DataFrame(rows), target.tokenizer)
    assert (planned.doc_id, planned.positions) == ("b", [16])


def test_a_layer_out_of_range_is_refused_before_anything_is_written(
    corpus: pl.DataFrame, target: Target, tmp_path: Path
):
    with pytest.raises(NlaError, match="layer 12 is out of range") as caught:
        extract_activations(CONFIG.replace(layers=(12,)), corpus, target, tmp_path / "out")
    one_line(caught, "blocks 0 to 11")
    assert not (tmp_path / "out").exists()


def test_positions_are_stored_as_numbers(whole: Path):
    assert load_activations(whole).schema[POSITION] == pl.Int32
