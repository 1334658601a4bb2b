"""Activations at sampled positions, written in shards so that a killed run resumes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch.nn.utils.rnn import pad_sequence

from common.config import ActivationsConfig
from common.data.shards import PATTERN, Shards
from common.errors import NlaError, first_line
from common.manifest import check_content, digest_of, read_manifest, write_manifest
from common.progress import progress
from common.schema import (
    DOC_ID,
    KEY,
    NEXT_PROBS,
    NEXT_TOKENS,
    POSITION,
    SPLIT,
    TEXT,
    TOKEN_IDS,
    TRAINING_SPLITS,
    TokenBatch,
    activation_column,
    activation_key,
    window_column,
)
from common.seeding import keyed_random, keyed_seed
from common.target.load import Target
from common.target.residual import Reading, check_layers, read_residual
from common.target.text import decode, decode_next, encode_document

SOURCE_COLUMNS = (KEY, DOC_ID, SPLIT, POSITION, TOKEN_IDS, TEXT, NEXT_TOKENS, NEXT_PROBS)
"""All columns except the vectors."""


class PlannedDocument(NamedTuple):
    """A document with the positions to read; its tokens end at the last of them."""

    doc_id: str
    split: str
    token_ids: list[int]
    positions: list[int]


def plan_documents(
    config: ActivationsConfig, corpus: pl.DataFrame, tokenizer
) -> list[PlannedDocument]:
    """Which documents and positions are read: keyed per document, shortest first.

    A document without a token at `min_position` is left out. NlaError when no training document is
    left, because the mean and the norms come from training activations.
    """
    planned = []
    for split, documents in corpus.sort(DOC_ID).group_by(SPLIT, maintain_order=True):
        limit = config.documents.get(str(split[0]), documents.height)
        for doc_id, text in _keyed_order(documents)[:limit]:
            token_ids = encode_document(tokenizer, text)[: config.max_tokens]
            choices = range(config.min_position, len(token_ids))
            count = min(config.positions_per_document, len(choices))
            if count:
                positions = sorted(keyed_random("position", doc_id).sample(choices, count))
                planned.append(
                    PlannedDocument(
                        doc_id, str(split[0]), token_ids[: positions[-1] + 1], positions
                    )
                )
    if not any(document.split in TRAINING_SPLITS for document in planned):
        what = f"no training document has more than min_position = {config.min_position} tokens"
        remedy = "lower it, bring longer texts or raise activations.documents"
        raise NlaError(what, where="activations.min_position", remedy=remedy)
    return sorted(planned, key=lambda document: (len(document.token_ids), document.doc_id))


def extract_activations(
    config: ActivationsConfig,
    corpus: pl.DataFrame,
    target: Target,
    out: Path,
    provenance: Mapping[str, Any] = MappingProxyType({}),
    code: str = "",
) -> None:
    """Write `out/shard-*.parquet` and the manifest; finished shards of the same plan are kept.

    A shard that has changed since it was written is made again.

    The manifest keeps `provenance` (source digests), so that a new source makes a new digest.
    Shards made by other `code` (its digest) are made again.
    Raises NlaError when a layer is out of range, nothing can be read, or the disk is full.
    """
    layers = check_layers(config.layers, target.manifest["blocks"])
    planned = plan_documents(config, corpus, target.tokenizer)
    documents = [document[:2] for document in planned]
    made_of = {name: target.manifest[name] for name in ("source", "content", "tokenizer")}
    plan = digest_of([config.digest(), made_of, layers, documents])
    finished = Shards(out, plan, code)
    with progress("activations", len(planned), "document") as bar:
        for number, shard in enumerate(_shards(planned, config)):
            if number in finished:
                bar.update(len(shard))
                continue
            frames = []
            for frame, documents_read in _read_batches(shard, layers, config, target):
                frames.append(frame)
                bar.update(documents_read)
            finished.add(number, pl.concat(frames))
    _finish(out, config, layers, target, {**provenance, "code": code})


def load_activations(
    folder: Path, splits: Sequence[str] = (), columns: Sequence[str] = ()
) -> pl.DataFrame:
    """Rows of some splits (all by default) and columns (all by default), ordered by key.

    NlaError when the artefact is missing, or a shard is corrupt, foreign or has been changed.
    """
    manifest = read_manifest(folder, made_by="activations", kind="activations")
    with _naming_damage(folder):
        table = pl.scan_parquet(folder / PATTERN)
        if splits:
            table = table.filter(pl.col(SPLIT).is_in(list(splits)))
        frame = table.select(*(columns or [pl.all()]), pl.col(KEY).alias("_order")).collect()
    check_content(folder, manifest, "--force activations")
    return frame.sort("_order").drop("_order")


@contextmanager
def _naming_damage(folder: Path) -> Iterator[None]:
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"corrupt or foreign Parquet ({first_line(error)})"
        remedy = "make it again with `dvc repro --force activations`"
        raise NlaError(what, where=folder, remedy=remedy) from error


def vectors_of(frame: pl.DataFrame, layer: int) -> torch.Tensor:
    """Column `activation_<layer>` as a float32 tensor [rows, d_model]."""
    return torch.from_numpy(np.array(frame[activation_column(layer)].to_numpy(), dtype=np.float32))


def _keyed_order(documents: pl.DataFrame) -> list[tuple[str, str]]:
    rows = documents.select(DOC_ID, TEXT).rows()
    return sorted(rows, key=lambda row: keyed_seed("document", row[0]))


def _shards(
    planned: list[PlannedDocument], config: ActivationsConfig
) -> Iterator[list[PlannedDocument]]:
    size = max(1, config.shard_rows // config.positions_per_document)
    for start in range(0, len(planned), size):
        yield planned[start : start + size]


def _batches(shard: list[PlannedDocument], batch_tokens: int) -> Iterator[list[PlannedDocument]]:
    """Consecutive documents (they are sorted by length) of at most `batch_tokens` with padding."""
    batch: list[PlannedDocument] = []
    for document in shard:
        if batch and (len(batch) + 1) * len(document.token_ids) > batch_tokens:
            yield batch
            batch = []
        batch.append(document)
    yield batch


def _read_batches(
    shard: list[PlannedDocument], layers: tuple[int, ...], config: ActivationsConfig, target: Target
) -> Iterator[tuple[pl.DataFrame, int]]:
    """The rows of each batch of a shard, and the number of documents in the batch."""
    device = next(target.model.parameters()).device
    for batch in _batches(shard, config.batch_tokens):
        lengths = torch.tensor([len(document.token_ids) for document in batch])
        ids = pad_sequence(
            [torch.tensor(document.token_ids) for document in batch], batch_first=True
        )
        tokens = TokenBatch(
            ids.to(device), (torch.arange(ids.shape[1]) < lengths[:, None]).to(device)
        )
        places = [
            (row, position) for row, document in enumerate(batch) for position in document.positions
        ]
        rows, columns = torch.tensor(places, device=device).T
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            reading = read_residual(
                target.model, tokens, layers, (rows, columns), config.next_tokens, config.window
            )
        yield _table(batch, reading, target.tokenizer), len(batch)


def _table(batch: list[PlannedDocument], reading: Reading, tokenizer) -> pl.DataFrame:
    sources = [(document, position) for document in batch for position in document.positions]
    prefixes = [document.token_ids[: position + 1] for document, position in sources]
    columns = {
        KEY: [activation_key(document.doc_id, position) for document, position in sources],
        DOC_ID: [document.doc_id for document, _ in sources],
        SPLIT: [document.split for document, _ in sources],
        POSITION: pl.Series([position for _, position in sources], dtype=pl.Int32),
        TOKEN_IDS: pl.Series(prefixes, dtype=pl.List(pl.Int32)),
        TEXT: decode(tokenizer, prefixes),
        NEXT_TOKENS: [
            decode_next(tokenizer, ids, choices)
            for ids, choices in zip(prefixes, reading.next_ids.tolist(), strict=True)
        ],
        NEXT_PROBS: pl.Series(reading.next_probs.tolist(), dtype=pl.List(pl.Float32)),
    }
    vectors = {activation_column(layer): read for layer, read in reading.activations.items()}
    vectors |= {window_column(layer): read for layer, read in reading.before.items()}
    for name, read in vectors.items():
        shape = pl.Array(pl.Float32, read.shape[1])
        columns[name] = pl.Series(read.numpy(), dtype=shape)
    return pl.DataFrame(columns)


def _finish(
    out: Path,
    config: ActivationsConfig,
    layers: tuple[int, ...],
    target: Target,
    provenance: Mapping[str, Any],
) -> None:
    main = activation_column(layers[0])
    with _naming_damage(out):
        table = pl.scan_parquet(out / PATTERN)
        training = table.filter(pl.col(SPLIT).is_in(TRAINING_SPLITS)).select(main).collect()
        rows = table.select(pl.len()).collect().item()
    norms = np.linalg.norm(training[main].to_numpy(), axis=1)
    quantiles = (
        {str(q): round(float(np.percentile(norms, q)), 3) for q in (5, 25, 50, 75, 95)}
        if len(norms)
        else {}
    )
    write_manifest(
        out,
        kind="activations",
        config=config.digest(),
        layers=layers,
        **({"window": config.window} if config.window > 1 else {}),
        d_model=target.manifest["d_model"],
        tokenizer=target.manifest["tokenizer"],
        target=target.manifest["source"],
        weights=target.manifest["content"],
        **provenance,
        rows=rows,
        norm_percentiles=quantiles,
    )
