"""The numbers that a finished run is compared by, from the files of its folder.

`test/...` is measured on the test split, as is `texts/...` of a neutral AR, which reads many arms;
`total/...` tells what the run was and cost. Curves keep their names in metrics.jsonl.
"""

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from common.paths import NEUTRAL
from common.runs import RunFolder
from common.tracking.identity import SEED, identity_of
from common.tracking.settings import flat

ORIGINAL, NEUTRAL_SOURCE = "original", "av_neutral_ar"
"""As in results rows; schema.py and conditions.py, which name them, import torch."""


def numbers_of(folder: RunFolder) -> dict[str, float]:
    """All numbers of a finished run; none of an unfinished one."""
    if not folder.summary_file.exists():
        return {}
    found = {**run_numbers(folder), **_of_rows(folder), **_of_measures(folder)}
    found |= neutral_numbers(folder)
    return {metric_name(name): value for name, value in found.items()}


def run_numbers(folder: RunFolder) -> dict[str, float]:
    """Numbers of the summary that stand nowhere else: in no curve, no param and no FVE."""
    config, curves = folder.config, {name for _, values in folder.metrics() for name in values}
    trained = config.get("trained") or {}
    settings = {**(trained.get("tuned") or {}), **(trained.get("params") or {})}
    return {
        f"total/{name}": float(value)
        for name, value in flat(folder.summary).items()
        if isinstance(value, int | float)
        and name not in ("variance", *curves)
        and not name.startswith("variances.")
        and not (name in settings and settings[name] == value)
    }


def neutral_numbers(folder: RunFolder) -> dict[str, float]:
    """How the experiment's neutral AR reads what a run has written, where it has read just that."""
    told = identity_of(folder)
    neutral = RunFolder(folder.path.parents[2] / NEUTRAL / told.experiment / "0")
    if told.kind != SEED or not (neutral.summary_file.exists() and folder.texts_file.exists()):
        return {}
    data = (neutral.config.get("trained") or {}).get("data") or {}
    if data.get(f"{told.arm}/{told.number}") != folder.said:
        return {}
    rows = _rows(neutral).filter(source=NEUTRAL_SOURCE, arm=told.arm, seed=int(told.number))
    return _readings(rows, neutral.summary, "test/{}_neutral")


def metric_name(name: str) -> str:
    """With the characters that MLflow allows."""
    return re.sub(r"[^\w/\-. :]", "_", re.sub("['`]", "", name))


def _of_rows(folder: RunFolder) -> dict[str, float]:
    """`test/fve_av`, `test/top1_teacher`, ...; of a neutral AR `texts/fve_<arm>`, ..."""
    rows, is_neutral = _rows(folder), identity_of(folder).kind == NEUTRAL
    if is_neutral:
        rows = rows.filter(source=NEUTRAL_SOURCE)
    found: dict[str, float] = {}
    for (name,), part in rows.group_by(["arm" if is_neutral else "source"]):
        place = f"texts/{{}}_{name}" if is_neutral else f"test/{{}}_{_short(str(name))}"
        found |= _readings(part, folder.summary, place)
    return dict(sorted(found.items()))


def _rows(folder: RunFolder) -> pl.DataFrame:
    """Reconstructions from whole explanations."""
    if not folder.rows_file.exists():
        return pl.DataFrame(schema={"source": pl.String, "arm": pl.String, "seed": pl.Int64})
    return pl.read_parquet(folder.rows_file).filter(pl.col("applied"), transform=ORIGINAL)


def _readings(rows: pl.DataFrame, summary: Mapping[str, Any], place: str) -> dict[str, float]:
    """FVE, also beyond last tokens, and how often the own activation ranks first among others."""
    found: dict[str, float] = {}
    columns = {"fve": ("squared_error", summary.get("variance"))}
    columns |= {n: (f"error_{n}", value) for n, value in summary.get("variances", {}).items()}
    for name, (column, variance) in columns.items():
        if variance and column in rows.columns and (errors := rows[column].drop_nulls()).len():
            found[place.format(name)] = 1 - float(errors.to_numpy().mean()) / variance
    if rows.height and (ranks := rows["retrieval_rank"].drop_nulls()).len():
        found[place.format("top1")] = float((ranks == 1).sum() / ranks.len())
    return found


def _of_measures(folder: RunFolder) -> dict[str, float]:
    """`test/<measure>`: its mean."""
    if not folder.measures_file.exists():
        return {}
    table = pl.read_parquet(folder.measures_file).drop_nulls("value")
    means = table.group_by("measure").agg(pl.col("value").mean()).sort("measure")
    return {f"test/{measure}": mean for measure, mean in means.select("measure", "value").rows()}


def _short(source: str) -> str:
    """`av_untrained_ar` → `untrained`: which other AR reads the AV's text."""
    return source.removeprefix("av_").removesuffix("_ar")
