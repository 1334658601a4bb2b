"""The explanations written in an experiment, for its report."""

from collections.abc import Sequence

import polars as pl

from common.arms.arm import Arm
from common.evaluation.test_set import TestSet
from common.metrics.degeneration import degeneration
from common.metrics.quotes import (
    longest_common_substring,
    quote_share,
    unpaired_marks,
    verbatim_ngram_share,
)
from common.report.results import TEXTS_SCHEMA
from common.runs import RunFolder
from common.schema import AV, KEY, TEACHER, TEXT
from common.seeding import keyed_seed
from common.target.text import encode

Runs = list[tuple[Arm, RunFolder]]


def text_metrics_by_writer(runs: Runs) -> dict[str, dict[str, float]]:
    """Metrics of each writer: the teacher and the warm-started AV, or each arm that has written."""
    if not (tests := _tests(runs)):
        return {}
    found = {TEACHER: text_metrics(tests, tests.table[TEACHER].to_list())}
    written = texts_by_arm(runs)
    if not written:
        return found | {AV: text_metrics(tests, tests.table[AV].to_list())}
    return found | {arm: text_metrics(tests, texts) for arm, texts in written.items()}


def shown_texts(runs: Runs) -> pl.DataFrame:
    """Source text and explanations of every test activation, in a keyed random order."""
    if not (tests := _tests(runs)):
        return pl.DataFrame(schema=TEXTS_SCHEMA)
    table = tests.table.select(KEY, pl.col(TEXT).alias("source_text"), TEACHER, AV)
    if written := texts_by_arm(runs):
        columns = [pl.Series(arm, texts) for arm, texts in written.items()]
        table = table.drop(AV).with_columns(columns)
    keys = table[KEY].to_list()
    return table[sorted(range(len(keys)), key=lambda row: keyed_seed("shown", keys[row]))]


def texts_by_arm(runs: Runs) -> dict[str, list[str]]:
    """{arm: explanations of the test activations} of the first seed of each arm that writes."""
    found: dict[str, list[str]] = {}
    for arm, run in runs:
        if arm.label not in found and run.texts_file.exists():
            written = run.table(run.texts_file)
            found[arm.label] = arm.test_set(run.seed).written_in(written).test
    return found


def text_metrics(tests: TestSet, texts: list[str]) -> dict[str, float]:
    """Means over explanations of the test activations: length, quotes and degeneration."""
    lengths = [len(ids) for ids in encode(tests.trunk.tokenizer, texts)]
    pairs = list(zip(texts, tests.table[TEXT].to_list(), strict=True))
    quotes = {
        "quote_share": _mean([quote_share(text) for text in texts]),
        "unpaired_marks": _mean([unpaired_marks(text) for text in texts]),
        "verbatim_4gram_share": _mean([verbatim_ngram_share(*pair) for pair in pairs]),
        "longest_common_substring": _mean([longest_common_substring(*pair) for pair in pairs]),
    }
    return quotes | degeneration(texts, lengths, tests.profile.av.max_explanation_tokens)


def _tests(runs: Runs) -> TestSet | None:
    """The test set of the first arm that explains or reads; None where there is none."""
    explaining = [(arm, run) for arm, run in runs if arm.has_samples]
    if not explaining:
        return None
    arm, run = explaining[0]
    return arm.test_set(run.seed)


def _mean(values: Sequence[int | float]) -> float:
    return sum(values) / len(values)
