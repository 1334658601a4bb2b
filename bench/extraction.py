"""Activations per second, from the same documents at the same positions, equal to 1e-4."""

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from bench.alternatives import Alternative, Work, running
from bench.timing import Rates, Ratio, Unit, alternate, best, ratio
from bench.workload import Workload
from common.config import ActivationsConfig
from common.data.activations import (
    PlannedDocument,
    extract_activations,
    load_activations,
    plan_documents,
    vectors_of,
)
from common.data.corpus import load_corpus
from common.errors import NlaError
from common.schema import DOC_ID, KEY, TEXT, activation_key
from common.target.load import Target
from common.target.text import encode_document

TOLERANCE = 1e-4
"""Largest |difference| / |activation| between any two readers, in fp32."""
GOAL = 1.5
OURS, OURS_NEXT, OURS_LOW = "nla", "nla, 5 next tokens", "nla, bfloat16"
SETTINGS: dict[str, dict[str, Any]] = {
    OURS: {},
    OURS_NEXT: {"next_tokens": 5},
    OURS_LOW: {"precision": "bfloat16"},
}
WITH_NEXT = "transformers with next tokens"


class Extraction(NamedTuple):
    """Rates in activations per second, what they mean, and how equal the activations were."""

    rates: Rates
    ratios: list[Ratio]
    difference: float
    activations: int


class Reading(NamedTuple):
    """The documents of the measurement, and our way to read them."""

    target: Target
    corpus: pl.DataFrame
    config: ActivationsConfig
    layer: int

    @classmethod
    def of(cls, work: Workload) -> "Reading":
        """As many documents of the corpus as the scale says, in the order of the corpus."""
        trunk = work.trunk()
        profile = work.profile.activations
        config = profile.replace(
            documents={}, layers=(trunk.layer,), next_tokens=0, precision="float32"
        )
        corpus = load_corpus(trunk.places.corpus)
        # Text shorter than this has no token at min_position: everyone reads the same documents.
        long = corpus.filter(pl.col(TEXT).str.len_chars() > 10 * config.min_position)
        chosen = long.sample(work.scale.documents, seed=0)
        return cls(trunk.target, chosen, config, trunk.layer)

    def planned(self) -> list[PlannedDocument]:
        """Documents and positions, in the order of the corpus."""
        found = {
            one.doc_id: one
            for one in plan_documents(self.config, self.corpus, self.target.tokenizer)
        }
        return [found[doc_id] for doc_id in self.corpus[DOC_ID] if doc_id in found]

    def work_for_others(self, folder: Path, batch_size: int) -> Work:
        """Token ids up to `max_tokens`: where to cut them further is part of what is compared."""
        texts = dict(self.corpus.select(DOC_ID, TEXT).rows())
        planned = self.planned()
        tokenizer, limit = self.target.tokenizer, self.config.max_tokens
        rows = [encode_document(tokenizer, texts[one.doc_id])[:limit] for one in planned]
        return Work(folder, self.layer, rows, [one.positions for one in planned], batch_size)

    def run(self, **settings: Any) -> tuple[float, Tensor]:
        """Seconds of our stage, from texts to Parquet, and the activations in the planned order."""
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "activations"
            started = time.perf_counter()
            extract_activations(self.config.replace(**settings), self.corpus, self.target, out)
            seconds = time.perf_counter() - started
            table = load_activations(out)
        vectors = dict(zip(table[KEY], vectors_of(table, self.layer), strict=True))
        keys = [
            activation_key(one.doc_id, position)
            for one in self.planned()
            for position in one.positions
        ]
        return seconds, torch.stack([vectors[key] for key in keys])


def measure_extraction(work: Workload, interpreters: dict[str, Path]) -> Extraction:
    """Time our stage against each reader; NlaError when any two read different activations."""
    reading = Reading.of(work)
    others = reading.work_for_others(work.trunk().places.target, work.scale.reader_batch)
    own = reading.run()[1]
    with running(interpreters, others) as alternatives:
        difference = max(_difference(own, one) for one in alternatives.values())
        units = {name: _ours(reading, settings) for name, settings in SETTINGS.items()}
        units |= {name: _theirs(one, len(own)) for name, one in alternatives.items()}
        rates = alternate(units, work.scale.rounds, "extraction")
    return Extraction(rates, _ratios(rates), difference, len(own))


def _ours(reading: Reading, settings: dict[str, Any]) -> Unit:
    def measured(_: int) -> float:
        seconds, vectors = reading.run(**settings)
        return len(vectors) / seconds

    return measured


def _theirs(one: Alternative, activations: int) -> Unit:
    return lambda _: activations / one.seconds()


def _difference(own: Tensor, other: Alternative) -> float:
    relative = float(((own - other.activations).norm(dim=1) / own.norm(dim=1)).max())
    if relative > TOLERANCE:
        what = f"{other.name} reads other activations (relative difference {relative:.2g})"
        raise NlaError(what, where="bench", remedy="check the layer and the positions")
    return relative


def _ratios(rates: Rates) -> list[Ratio]:
    """Ours against the best that reads activations only, and against the one with next tokens."""
    others = [name for name in rates if name not in (OURS, OURS_NEXT, OURS_LOW, WITH_NEXT)]
    found = [
        ratio(rates, OURS, name, GOAL if name == best(rates, others) else None) for name in others
    ]
    if WITH_NEXT in rates:
        found.append(ratio(rates, OURS_NEXT, WITH_NEXT, GOAL))
    return found
