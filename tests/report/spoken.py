"""Made-up results of arms whose AVs write texts of their own, and of monitors that give scores."""

import numpy as np
import polars as pl

from common.report.results import MEASURES_SCHEMA, ROWS_SCHEMA, Results
from common.schema import AV, AV_NEUTRAL_AR, AV_UNTRAINED_AR, TEACHER
from tests.report.synthetic import (
    COPIED_ROWS,
    DOCUMENTS,
    POSITIONS,
    VARIANCE,
    VARIANCES,
    block,
    generator,
)

ARMS = {"control": 0.43, "frozen_ar": 0.42, "frozen_av": 0.34, "warm_start": 0.33}
ARMS |= {"unquoted": 0.3, "unquoted_warm_start": 0.22}
SEEDS = {"frozen_ar": (0,), "frozen_av": (0,)}
EVERY_SEED = (0, 1, 2)
NEUTRAL = {f"{AV_NEUTRAL_AR}_{number}": 0.5 + 0.02 * number for number in range(3)}
READ = {TEACHER: 1.3, AV: 1.0, AV_NEUTRAL_AR: 0.5, AV_UNTRAINED_AR: 0.95, **NEUTRAL}
FLOORS = {"mean_direction": -0.15, "last_token": 0.2, "next_tokens": 0.12, "look_up": 0.31}
FLOORS |= {"nearest_words": 0.02, "nearest_text": 0.35, "tfidf_ridge": 0.05, "own_blocks": 1.0}
FLOORS |= COPIED_ROWS
TRANSFORMS = {"original": 1.0, "shuffled": -1.2, "quotes_only": 0.7, "quotes_stripped": -0.3}
TRANSFORMS |= {"random_stripped": 0.4, "verbatim_stripped": 0.1, "prefix_8": 0.4, "prefix_16": 0.8}
TRANSFORMS |= {"swap_last_word": -0.4, "swap_quote": -0.5, "swap_all_but_quote": 0.6}
TRANSFORMS |= {"swap_topic": 0.9, "swap_next": 0.8}
MEASURES = {"tokens": 49.0, "quote_share": 0.17, "longest_run": 1.8, "splice_kl": 0.8}
MEASURES |= {f"suffix_{k}": 0.5**k for k in range(1, 5)} | {"invented": 0.7}
MEASURES |= {f"suffix_excess_{k}": 0.48**k for k in range(1, 5)}
MEASURES |= {"content": 0.2, "content_next_top1": 0.3, "content_next_top5": 0.35}
MEASURES |= {"content_title": 0.05, "content_topic": 0.3, "content_syntax": 0.1}
MEASURES |= {"decodable": 0.4, "decodable_topic": 0.3, "decodable_topic_shuffled": 0.1}
MEASURES |= {"decodable_topic_own_activation": 0.6, "decodable_topic_source_text": 0.5}
MEASURES |= {"splice_kl_mean_direction": 3.0, "best_of_1": 0.6, "best_of_2": 0.5, "sampled_kl": 0.1}
SENTENCE = (
    'The text stops at "{quote}". Perhaps "which" or "and" follows. Text on {topic}: {title}, in'
    " the second sentence, after a content word."
)


def spoken_results(documents: int = DOCUMENTS) -> Results:
    """`control` gains over `warm_start`; the frozen arms have one seed of three."""
    arms = list(ARMS)
    frames = [
        block((source, arm, seed, transform), level * strength * factor)
        for source, strength in READ.items()
        for arm, level in ARMS.items()
        for seed in SEEDS.get(arm, EVERY_SEED)
        for transform, factor in (TRANSFORMS if source == AV else {"original": 1.0}).items()
    ]
    frames += [
        _of_all_sources(block((AV, floor, 0, "original"), level), source)
        for source in READ
        for floor, level in FLOORS.items()
    ]
    facts = {"profile": "laptop", "experiment": "baseline", "arms": arms, "resamples": 500}
    facts |= {"floors": list(FLOORS), "ceilings": ["own_blocks"], "variance": VARIANCE}
    facts |= {"variances": VARIANCES, "pairs": 3}
    facts |= {
        "untrained": ["warm_start", "unquoted_warm_start"],
        "distractors": 7,
        "layer": 15,
        "target": "a_model",
    }
    facts |= {"commit": ["0123abc"], "device": ["CPU, 2 threads"], "raw_variance": 40000.0}
    results = Results(
        facts,
        {arm: {"length": 48.0, "quote_share": 0.17, "empty": 0.0} for arm in (TEACHER, *arms)},
        rows=pl.concat(frames).cast(dict(ROWS_SCHEMA)),
        measures=_measures(),
        runs=_runs(),
        curves=_curves(),
        texts=_texts(arms),
    )
    named = [f"document-{document:02d}" for document in range(documents)]
    return results._replace(
        rows=results.rows.filter(pl.col("doc_id").is_in(named)),
        measures=results.measures.filter(pl.col("cluster").is_in(named)),
    )


def scored_results() -> Results:
    """No FVE at all: a label and the scores of two monitors for each of ninety transcripts."""
    labels = np.arange(90) % 2
    rows = []
    for arm, strength in {"control": 0.4, "explanations": 1.6}.items():
        noise = generator(arm).normal(0, 1, 90)
        for item, label in enumerate(labels):
            named = {"arm": arm, "seed": 0, "key": f"{item}", "cluster": f"topic-{item % 30}"}
            rows += [
                named | {"measure": "label", "value": float(label)},
                named | {"measure": "score", "value": strength * label + noise[item]},
                named | {"measure": "words", "value": 100 + 10 * noise[item]},
            ]
    facts = {"profile": "laptop", "experiment": "monitors", "arms": ["control", "explanations"]}
    measures = pl.DataFrame(rows, schema=MEASURES_SCHEMA)
    runs = pl.DataFrame({"arm": ["control", "explanations"], "seed": [0, 0], "tokens_read": [5, 9]})
    return Results(facts | {"resamples": 500}, {}, measures=measures, runs=runs)


def _of_all_sources(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    """What a reference row reads does not depend on the AR."""
    return rows.with_columns(source=pl.lit(source))


def _measures() -> pl.DataFrame:
    rows = []
    for arm in ARMS:
        for seed in SEEDS.get(arm, EVERY_SEED):
            for name, level in MEASURES.items():
                noise = generator(arm, str(seed), name).normal(1, 0.1, (DOCUMENTS, 2))
                more = 1.2 if arm == "control" and name[:6] in ("suffix", "conten") else 1.0
                rows += [
                    (arm, seed, f"{named}:{position}", named, name, level * more * noise[at, place])
                    for at in range(DOCUMENTS)
                    for named in [f"document-{at:02d}"]
                    for place, position in enumerate(POSITIONS)
                ]
    return pl.DataFrame(rows, schema=MEASURES_SCHEMA, orient="row")


def _runs() -> pl.DataFrame:
    costs = {"trainable_parameters": 61_858_368, "parameters": 224_684_928, "skipped_steps": 0}
    return pl.DataFrame(
        [
            {"arm": arm, "seed": seed, "train_seconds": 30.0 if "warm_start" in arm else 1100.0}
            | costs
            for arm in ARMS
            for seed in (SEEDS.get(arm, EVERY_SEED) if "warm_start" not in arm else (0,))
        ]
    )


def _curves() -> pl.DataFrame:
    rows = [
        (arm, seed, step, metric, level + 0.001 * step)
        for arm in ARMS
        for seed in (SEEDS.get(arm, EVERY_SEED) if "warm_start" not in arm else (0,))
        for step in (range(0, 40, 10) if "warm_start" not in arm else (0,))
        for metric, level in (("dev_fve", ARMS[arm]), ("rl_reward", -0.4), ("dev_kl_greedy", 0.1))
    ]
    return pl.DataFrame(rows, schema=["arm", "seed", "step", "metric", "value"], orient="row")


def _texts(arms: list[str]) -> pl.DataFrame:
    """Sixteen activations; `control` quotes the source."""
    rows = []
    for document in range(16):
        source = (
            f"The Ganges number {document} is a trans-boundary river of Asia which flows through"
            " India and Bangladesh. It flows south and east through the Gangetic plain"
        )
        told = {
            arm: SENTENCE.format(
                quote="the Gangetic plain" if arm == "control" else "and the coast",
                topic="geography",
                title="Gulf Stream",
            )
            for arm in (TEACHER, *arms)
        }
        rows.append({"key": f"document-{document:02d}:40", "source_text": source} | told)
    return pl.DataFrame(rows)
