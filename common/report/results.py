"""The collected results of one experiment: everything that a report reads."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from common.errors import NlaError
from common.files import replace_text, write_atomically
from common.json_lines import parse_json
from common.manifest import (
    check_content,
    read_manifest,
    read_table,
    withdraw_manifest,
    write_manifest,
)
from common.params import CONTROL
from common.schema import AV_NEUTRAL_AR, DOC_ID, TEACHER

REQUIRED_FACTS = ("profile", "experiment", "arms", "resamples")

ROWS_SCHEMA = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int64,
        "key": pl.String,
        "doc_id": pl.String,
        "source": pl.String,
        "transform": pl.String,
        "applied": pl.Boolean,
        "squared_error": pl.Float64,
        "cosine": pl.Float64,
        "raw_squared_error": pl.Float64,
        "retrieval_rank": pl.Int64,
        "error_beyond_0": pl.Float64,
        "error_beyond_1": pl.Float64,
        "error_beyond_4": pl.Float64,
    }
)
RUN = ("arm", "seed")
"""Columns that `runs` must have; its other columns may be missing or unknown."""
RUNS_SCHEMA = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int64,
        "parameters": pl.Int64,
        "trainable_parameters": pl.Int64,
        "train_tokens": pl.Int64,
        "train_seconds": pl.Float64,
        "learning_rate": pl.Float64,
        "ar_learning_rate": pl.Float64,
        "weight_decay": pl.Float64,
        "dev_fve": pl.Float64,
        "skipped_steps": pl.Int64,
    }
)
TRIALS_SCHEMA = pl.Schema(
    {"arm": pl.String, "number": pl.Int64, "state": pl.String, "value": pl.Float64}
)
ONE_OF = f"{AV_NEUTRAL_AR}_"
"""How sources begin that hold what one of several neutral ARs reads; `av_neutral_ar` holds the
means of them all."""
FAILED = "fail"
"""State of a trial that raised: another trial replaced it, so it does not count in the budget."""
CURVES_SCHEMA = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int64,
        "step": pl.Int64,
        "metric": pl.String,
        "value": pl.Float64,
    }
)
MEASURES_SCHEMA = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int64,
        "key": pl.String,
        "cluster": pl.String,
        "measure": pl.String,
        "value": pl.Float64,
    }
)
TEXTS_SCHEMA = pl.Schema({"key": pl.String, "source_text": pl.String})
TABLES = {
    "rows": ROWS_SCHEMA,
    "runs": RUNS_SCHEMA,
    "trials": TRIALS_SCHEMA,
    "curves": CURVES_SCHEMA,
    "measures": MEASURES_SCHEMA,
    "texts": TEXTS_SCHEMA,
}


class Results(NamedTuple):
    """Tables with at least the columns of `TABLES`; an experiment may lack some of the tables.

    `rows` holds errors of reconstructions, for FVE. `measures` holds other numbers of single items,
    such as the length of an explanation, or a label and a score; `cluster` is what the bootstrap
    draws, the document of an activation. `runs` needs only the columns `RUN`. `trials` also holds a
    column `params_<name>` per tuned setting; each further column of `texts` (`teacher`, `av`, ...)
    is a writer's explanation of the same activation. `text_metrics` is {writer: {metric: value}}.
    `facts` holds `REQUIRED_FACTS`: `arms` (their order), `resamples` (of the bootstrap); where
    there are rows also `variance` (mean ||n(h) - mu||² of the evaluated split) and `variances`
    ({`beyond_<k>`: the same about what the last k tokens say}); `pairs` (training seed s starts
    from pair s modulo pairs; none: each seed has its own); and whatever else is worth keeping:
    `floors` (arms that are references, not conditions), `ceilings` (floors
    that are ceilings), `missing_floors` ({floor: why there is none}), `raw_variance` (`variance` on
    the raw scale), commit, device, digests, ...
    """

    facts: dict[str, Any]
    text_metrics: dict[str, dict[str, float]]
    rows: pl.DataFrame = pl.DataFrame(schema=ROWS_SCHEMA)
    runs: pl.DataFrame = pl.DataFrame(schema=RUNS_SCHEMA)
    trials: pl.DataFrame = pl.DataFrame(schema=TRIALS_SCHEMA)
    curves: pl.DataFrame = pl.DataFrame(schema=CURVES_SCHEMA)
    measures: pl.DataFrame = pl.DataFrame(schema=MEASURES_SCHEMA)
    texts: pl.DataFrame = pl.DataFrame(schema=TEXTS_SCHEMA)

    @property
    def floors(self) -> list[str]:
        """Arms that are reference rows, not conditions, in the order given."""
        present = set(self.rows["arm"].unique())
        return [floor for floor in self.facts.get("floors", []) if floor in present]

    @property
    def documents(self) -> int:
        """How many documents, or other clusters, were tested."""
        return max(self.rows[DOC_ID].n_unique(), self.measures["cluster"].n_unique())

    @property
    def has_own_texts(self) -> bool:
        """Whether each arm wrote its own explanations, which neutral ARs read too."""
        return AV_NEUTRAL_AR in self.sources

    @property
    def arms(self) -> list[str]:
        """The conditions that were trained or evaluated: control first, then as `facts["arms"]`."""
        tables = (self.rows, self.runs, self.curves, self.measures)
        named = {arm for table in tables for arm in table["arm"].unique()}
        present = named - set(self.facts.get("floors", []))
        order = {arm: place for place, arm in enumerate(self.facts.get("arms", []))}
        return sorted(present, key=lambda arm: (arm != CONTROL, order.get(arm, len(order)), arm))

    @property
    def sources(self) -> list[str]:
        """The writers of the explanations that were evaluated, the teacher first."""
        present = [one for one in self.rows["source"].unique() if not one.startswith(ONE_OF)]
        return sorted(present, key=lambda source: (source != TEACHER, source))

    def readers(self, source: str) -> list[str]:
        """The neutral ARs of whose answers a source holds the means, if any; else the source."""
        every = sorted(self.rows["source"].unique())
        return [one for one in every if one.startswith(ONE_OF) and source == AV_NEUTRAL_AR] or [
            source
        ]

    def pair_of(self, seed: int) -> int:
        """The warm-started pair from which a training seed goes on."""
        return seed % self.facts["pairs"] if self.facts.get("pairs") else seed


def save_results(folder: Path, results: Results) -> None:
    """Write one Parquet file per table, `summary.json` for the rest, and the manifest."""
    check_results(results, folder)
    folder.mkdir(parents=True, exist_ok=True)
    withdraw_manifest(folder)
    for name in TABLES:
        write_atomically(getattr(results, name), folder / f"{name}.parquet")
    summary = {"facts": results.facts, "text_metrics": results.text_metrics}
    text = json.dumps(summary, indent=2, sort_keys=True, default=str)
    replace_text(folder / "summary.json", text + "\n")
    write_manifest(folder, kind="results")


def load_results(folder: Path, experiment: str = "", remedy: str = "") -> Results:
    """Read what `save_results` wrote; NlaError when it is missing, incomplete or changed.

    The folder has the experiment's name unless another is given; `remedy` is for error messages.
    """
    stage = f"experiments/{experiment or folder.name}"
    remedy = remedy or f"nla collect {folder.name} --profile {folder.parent.parent.name}"
    names = [*(f"{name}.parquet" for name in TABLES), "summary.json"]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        what = f"collected results lack {', '.join(missing)}"
        raise NlaError(what, where=folder, remedy=remedy)
    manifest = read_manifest(folder, stage, remedy=remedy, kind="results")
    check_content(folder, manifest, stage, remedy=remedy)
    tables = {name: read_table(folder / f"{name}.parquet", stage) for name in TABLES}
    summary = folder / "summary.json"
    results = Results(**tables, **parse_json(summary.read_bytes(), summary, remedy))
    check_results(results, folder)
    return results


def check_results(results: Results, where: object = None) -> None:
    """Assert the required facts and columns, and that the arms include the control."""
    needed = [*REQUIRED_FACTS, *(["variance"] if results.rows.height else [])]
    missing = [fact for fact in needed if fact not in results.facts]
    missing += [
        f"{name}.{column}"
        for name, schema in TABLES.items()
        for column in (RUN if name == "runs" else schema)
        if column not in getattr(results, name).columns
    ]
    if missing:
        what = f"collected results lack {', '.join(missing)}"
        raise NlaError(what, where=where, remedy="collect them again with `nla collect`")
    if results.arms and CONTROL not in results.arms:
        what = f"no arm is named {CONTROL!r} among {results.arms}"
        raise NlaError(what, where=where, remedy="run the control arm and collect again")
