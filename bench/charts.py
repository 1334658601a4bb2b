"""Explanations read per second: a flow chart against the AR that is a language model."""

import time
from typing import NamedTuple

import polars as pl
import torch

from ar_variants.flowchart.chart import Chart, Plan, Tools
from ar_variants.flowchart.fitted import Frame
from ar_variants.flowchart.said import said
from bench.timing import Rates, Ratio, Unit, alternate, ratio
from bench.workload import Workload
from common.evaluation.floors import Lesson
from common.evaluation.word_vectors import WordVectors
from common.models.reconstructor import Reconstructor, TruncatedReconstructor
from common.rollout.reading import reader_of
from common.schema import EXPLANATION, KEY, Reading, readings_of

BOXES, MOST = 30, 1000
GOAL = 20.0
CHART, CONTROL = "chart", "control"


class Charted(NamedTuple):
    """Rates in explanations per second."""

    explanations: int
    boxes: int
    rates: Rates
    ratios: list[Ratio]


def measure_charts(work: Workload) -> Charted:
    """Both read the same texts in turn; the chart has read none of them before."""
    trunk, limit = work.trunk(), work.profile.ar.max_explanation_tokens
    table = pl.read_parquet(trunk.places.explanations)
    keys, texts = table[KEY].to_list(), table[EXPLANATION].to_list()
    frame = Frame(trunk.tokenizer, limit, trunk.mean.shape[0])
    tools = Tools(WordVectors(trunk.target))
    chart = Chart(frame, Plan("words", BOXES, most=BOXES), tools)
    chart.fit(Lesson(texts, trunk.store[keys], trunk.documents_of(keys)))
    control = TruncatedReconstructor(
        trunk.target.model, trunk.tokenizer, trunk.layer + 1, limit
    ).eval()
    readings = readings_of(texts[:MOST])
    units = {name: _unit(one, readings, work) for name, one in ((CHART, chart), (CONTROL, control))}
    rates = alternate(units, work.scale.rounds, "explanations")
    return Charted(len(readings), chart.size, rates, [ratio(rates, CHART, CONTROL, GOAL)])


def _unit(model: Reconstructor, readings: list[Reading], work: Workload) -> Unit:
    read = reader_of(model, work.profile)

    @torch.no_grad()
    def measured(_: int) -> float:
        said.cache_clear()
        started = time.perf_counter()
        read(readings)
        return len(readings) / (time.perf_counter() - started)

    return measured
