"""Made-up results of an experiment: three arms, some floors, three pairs, sixty documents."""

import numpy as np
import polars as pl

from common.report.results import ROWS_SCHEMA, RUNS_SCHEMA, Results

VARIANCE = 0.8
VARIANCES = {"beyond_0": VARIANCE, "beyond_1": 0.6, "beyond_4": 0.35}
LEFT = {0: 1.02, 1: 0.5, 4: 0.25}
"""FVE beyond the last tokens, in FVE."""
SEEDS = (0, 1, 2)
DOCUMENTS, POSITIONS = 60, (20, 40)
ARMS = {"control": 0.58, "input_aware": 0.70, "small": 0.575}
FLOORS = {"mean_direction": -0.15, "tfidf_ridge": -0.08, "embedding_ridge": 0.12}
FLOORS |= {"last_token": 0.2, "look_up": 0.5}
COPIED = {1: (-0.2, 0.25), 2: (0.2, 0.35), 4: (0.5, 0.6), 8: (0.7, 0.75), 16: (0.85, 0.9)}
"""FVE of the target's own blocks on so many tokens, as they are and with a linear map."""
COPIED_ROWS = {
    f"own_blocks_last_{count}{end}": fve
    for count, both in COPIED.items()
    for end, fve in zip(("", "_linear"), both, strict=True)
}
SOURCES = {"teacher": 1.0, "av": 0.6}
TRANSFORMS = {
    "original": 1.0,
    "shuffled": -1.5,
    "quotes_only": 0.3,
    "quotes_stripped": -0.4,
    "random_stripped": 0.7,
    "verbatim_stripped": 0.05,
    "verbatim_random_stripped": 0.75,
    "paraphrase": 0.4,
    "prefix_4": 0.2,
    "prefix_8": 0.45,
    "prefix_16": 0.7,
    "prefix_32": 0.95,
    "source_text": 1.4,
    "swap_last_word": 0.5,
    "swap_all_but_quote": 0.6,
}
UNAPPLIED = {
    "paraphrase": 5,
    "quotes_only": 12,
    "verbatim_stripped": 4,
    "verbatim_random_stripped": 4,
    "prefix_32": 6,
    "swap_last_word": 12,
}
"""Every so-many-th activation could not be transformed."""


def synthetic_results() -> Results:
    """Results in which `small` ties with control and `input_aware` wins."""
    return Results(
        rows=_rows(),
        runs=_runs(),
        trials=_trials(),
        curves=_curves(),
        texts=_texts(),
        text_metrics={
            "teacher": {"quote_share": 0.31, "verbatim_4gram_share": 0.12, "length_tokens": 38.9},
            "av": {"quote_share": 0.27, "verbatim_4gram_share": 0.02, "length_tokens": 41.25},
        },
        facts={
            "profile": "laptop",
            "experiment": "synthetic",
            "arms": list(ARMS),
            "floors": list(FLOORS | COPIED_ROWS),
            "variance": VARIANCE,
            "variances": VARIANCES,
            "raw_variance": 40000.0,
            "resamples": 500,
            "distractors": 7,
            "commit": "0123abc",
            "device": "cpu, 2 cores",
            "digests": {"corpus": "aaaa", "activations": "bbbb"},
            "av_gap_nats": 0.48,
        },
    )


def _rows() -> pl.DataFrame:
    frames = []
    for source, strength in SOURCES.items():
        for arm, fve in (ARMS | FLOORS | COPIED_ROWS).items():
            for seed in SEEDS if arm in ARMS else (0,):
                transforms = TRANSFORMS if arm in ARMS else {"original": 1.0}
                for transform, factor in transforms.items():
                    scale = strength * factor if arm in ARMS else 1.0
                    frames.append(block((source, arm, seed, transform), fve * scale))
    return pl.concat(frames).cast(dict(ROWS_SCHEMA))


def block(identity: tuple[str, str, int, str], fve: float) -> pl.DataFrame:
    source, arm, seed, transform = identity
    noise = generator(source, arm, str(seed), transform).normal(0, 0.2, (DOCUMENTS, 2))
    drift = generator(source, arm, str(seed)).normal(0, 0.02)
    shared = np.random.default_rng(7).gamma(4, 1, (DOCUMENTS, 2))
    relative = shared / shared.mean() + noise + drift
    error = (VARIANCE * (1 - fve) * relative).ravel().clip(min=0)
    every = UNAPPLIED.get(transform, 10**9)
    keys = [(document, position) for document in range(DOCUMENTS) for position in POSITIONS]
    applied = [index % every != every - 1 for index in range(len(keys))]
    spread = relative.ravel().clip(min=0)
    beyond = {
        f"error_beyond_{k}": VARIANCES[f"beyond_{k}"] * (1 - share * fve) * spread
        for k, share in LEFT.items()
    }
    rank = 1 + (error > VARIANCE * 0.5).astype(int) + (error > VARIANCE * 0.8).astype(int)
    frame = pl.DataFrame(
        {
            "arm": arm,
            "seed": seed,
            "key": [f"document-{document:02d}:{position}" for document, position in keys],
            "doc_id": [f"document-{document:02d}" for document, _ in keys],
            "source": source,
            "transform": transform,
            "applied": applied,
            "squared_error": error,
            "cosine": 1 - error / 2,
            "raw_squared_error": error * 60_000,
            "retrieval_rank": rank if transform == "original" else [None] * len(keys),
        }
        | beyond,
        schema=ROWS_SCHEMA,
    )
    measured = ["squared_error", "cosine", "raw_squared_error", *beyond]
    return frame.with_columns(pl.when("applied").then(pl.col(measured)))


def _runs() -> pl.DataFrame:
    parameters = {"control": 80_000_000, "input_aware": 95_000_000, "small": 20_000_000}
    return pl.DataFrame(
        [
            {
                "arm": arm,
                "seed": seed,
                "parameters": parameters[arm],
                "trainable_parameters": parameters[arm] - 1000,
                "train_tokens": 150_000,
                "train_seconds": parameters[arm] / 2e5 + seed,
                "learning_rate": 2e-4,
                "weight_decay": 0.01,
                "dev_fve": ARMS[arm] + 0.01 * seed,
                "skipped_steps": seed,
            }
            for arm in ARMS
            for seed in SEEDS
        ],
        schema=RUNS_SCHEMA,
    )


def _trials() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "arm": arm,
                "number": number,
                "state": "COMPLETE" if number else "PRUNED",
                "value": ARMS[arm] - 0.01 * abs(number - 2),
                "params_learning_rate": 1e-4 * 2**number,
            }
            for arm in ARMS
            for number in range(4)
        ]
    )


def _curves() -> pl.DataFrame:
    rows = []
    for arm, fve in ARMS.items():
        for seed in SEEDS:
            noise = generator(arm, str(seed)).normal(0, 0.01, 20)
            for index in range(20):
                rise = 1 - np.exp(-index / 6)
                step = 10 * index
                loss = 2 - 1.2 * fve * rise + noise[index]
                rows.append((arm, seed, step, "dev_fve", fve * rise + noise[index]))
                rows.append((arm, seed, step, "train_loss", loss))
    return pl.DataFrame(rows, schema=["arm", "seed", "step", "metric", "value"], orient="row")


def _texts() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "key": ["document-03:40", "document-17:20"],
            "source_text": ["A *law* is a set of\nrules | norms that", "The river <Oder> rises in"],
            "teacher": ['Encyclopedia text on law. Ends with "norms that".', "River, Czechia."],
            "av": ['Legal text; next may be "are".', None],
        }
    )


def generator(*key: str) -> np.random.Generator:
    return np.random.default_rng(list("/".join(key).encode()))
