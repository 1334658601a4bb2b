"""One AR for all arms: it was trained with none of their AVs, and on as much text of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from common.arms.arm import Arm
from common.arms.record import OWN_TEXTS
from common.data.batches import Example, examples_of
from common.device import best_device
from common.errors import NlaError
from common.evaluation.conditions import (
    ORIGINAL,
    SHUFFLED,
    SOURCE_TEXT,
    Conditions,
    shuffled,
)
from common.manifest import read_artefact, read_manifest, withdraw_manifest, write_artefact
from common.material import Material
from common.metrics.fve import squared_errors
from common.paths import neutral_run
from common.provenance import code_digest
from common.report.results import CONTROL, CURVES_SCHEMA, ROWS_SCHEMA
from common.rollout.reading import reconstruct
from common.runs import LOOKS, RunFolder
from common.schema import (
    AR_SFT,
    AV,
    AV_NEUTRAL_AR,
    AV_UNTRAINED_AR,
    DOC_ID,
    EXPLANATION,
    KEY,
    SPLIT,
    TEACHER,
    Reader,
    readings_of,
)
from common.warm_start import CODE, fit_ar, load_ar_of

CURVES = "curves.parquet"
"""In the run of a neutral AR: its FVE on what the AVs said while they were trained."""


def run_neutral(arms: Sequence[Arm]) -> None:
    """Train the neutral AR on as many explanations of each arm and of the teacher, then test it.

    They are of activations that no AV was optimised on.
    """
    if not arms[0].has_own_texts:
        what = f"the arms of {arms[0].experiment.name} all read the same texts"
        raise NlaError(what, remedy="no neutral AR is needed, go on with `nla collect`")
    first, material = arms[0], arms[0].material
    folder = RunFolder(neutral_run(first.profile.name, first.experiment.name))
    spoken = {run: own_texts(run) for run in runs_of(arms)}
    looks = _looks(list(spoken))
    config = {
        "ar": first.profile.ar.model_dump(),
        "trainer": first.profile.trainer.model_dump(),
        "runs": _digests(spoken),
        "code": code_digest("common/arms", *CODE),
    }
    with folder.locked():
        apart = balanced({r: t.filter(pl.col(SPLIT) == AR_SFT) for r, t in spoken.items()})
        taught = material.explanations(TEACHER).filter(pl.col(SPLIT) == AR_SFT)
        pooled = [*chain(*apart), *examples_of(taught, len(apart[0]))]
        if not folder.is_finished(config):
            for file in _tables(folder):  # of an AR that will be no more
                withdraw_manifest(file)
                file.unlink(missing_ok=True)
            fit_ar(folder, config, material, pooled)
        try:
            neutral_tables(material, list(spoken))
        except NlaError:
            read, floors = _reader(material, folder), material.fit_floors(pooled)
            made = (
                _test(material, read, spoken, floors.readers),
                _read_looks(material, read, looks),
            )
            facts = _made_of(material, folder) | {"missing": floors.missing}
            for file, table in zip(_tables(folder), made, strict=True):
                write_artefact(table, file, **facts)


def neutral_tables(
    material: Material, runs: Sequence[RunFolder]
) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str]]:
    """Rows of the arms and floors, curves, and why floors are missing, of these very runs.

    NlaError when there are none.
    """
    profile, experiment, *_ = runs[0].identity
    folder, stage = RunFolder(neutral_run(profile, experiment)), f"experiments/{experiment}"
    remedy = f"nla neutral {experiment} --profile {profile}"
    if not folder.summary_file.exists():
        raise NlaError("no neutral AR", where=folder.path, remedy=remedy)
    if folder.config["runs"] != _digests(runs):
        what = "the neutral AR read other runs than today's"
        raise NlaError(what, where=folder.path, remedy=remedy)
    made_of = _made_of(material, folder)
    rows, curves = (
        read_artefact(file, stage, list(schema), remedy=remedy, **made_of)
        for file, schema in _tables(folder).items()
    )
    missing = read_manifest(folder.rows_file, stage, remedy=remedy)["missing"]
    return rows, curves, missing


def _tables(folder: RunFolder) -> dict[Path, Mapping[str, Any]]:
    return {folder.rows_file: ROWS_SCHEMA, folder.path / CURVES: CURVES_SCHEMA}


def _digests(runs: Iterable[RunFolder]) -> dict[str, str]:
    return {str(run.path): run.summary["digest"] for run in runs}


def _made_of(material: Material, folder: RunFolder) -> dict[str, Any]:
    """What its tables depend on: another embedder is no reason to train the AR again."""
    chosen = material.profile.evaluation
    return {
        "neutral": folder.summary["digest"],
        "embedder": [chosen.embedder, chosen.embedder_sha256],
        "distractors": chosen.distractors,
        "code": code_digest("common/arms", "common/evaluation", *CODE),
    }


def balanced(spoken: Mapping[RunFolder, pl.DataFrame]) -> list[list[Example]]:
    """As many explanations of each arm; arms that have written the same count as one.

    An arm whose AV is not trained writes the same texts in every seed, and so do two such arms.
    """
    arms: dict[str, dict[tuple[str, ...], pl.DataFrame]] = {}
    for run, table in spoken.items():
        arms.setdefault(run.identity[2], {})[tuple(table.sort(KEY)[EXPLANATION])] = table
    different = {frozenset(written): pl.concat(written.values()) for written in arms.values()}
    size = min(table.height for table in different.values())
    return [examples_of(table, size) for table in different.values()]


def runs_of(arms: Sequence[Arm]) -> Iterator[RunFolder]:
    """Every run of some arms; NlaError for one that is missing or of other settings."""
    for arm in arms:
        for seed in arm.seeds:
            run = arm.run_folder(seed)
            arm.check(run)
            yield run


def own_texts(run: RunFolder) -> pl.DataFrame:
    """What the AV of a run wrote: key, doc_id, split, explanation."""
    return run.table(run.path / OWN_TEXTS, [KEY, DOC_ID, SPLIT, EXPLANATION])


def _test(
    material: Material,
    read: Reader,
    spoken: dict[RunFolder, pl.DataFrame],
    floors: Mapping[str, Reader],
) -> pl.DataFrame:
    """What the neutral AR makes of the arms' test explanations, with floors beside it."""
    tested = {run: texts_of_test(material, table) for run, table in spoken.items()}
    frames = [
        material.judge.rows(read, _conditions(material, run, texts), AV_NEUTRAL_AR).with_columns(
            *_named(run)
        )
        for run, texts in tested.items()
    ]
    return pl.concat([*frames, *_floors(material, floors, tested)])


def _reader(material: Material, folder: RunFolder) -> Reader:
    model = load_ar_of(folder, material).to(best_device()).eval()
    size, precision = material.profile.evaluation.batch_size, material.profile.trainer.precision
    return lambda readings: reconstruct(model, readings, size, precision)


def texts_of_test(material: Material, spoken: pl.DataFrame) -> list[str]:
    """A run's own explanations in the order of the test activations."""
    texts = dict(spoken.select(KEY, EXPLANATION).iter_rows())
    return [texts[key] for key in material.test_table[KEY]]


def _named(run: RunFolder) -> list[pl.Expr]:
    arm, seed = run.identity[2:]
    return [pl.lit(arm).alias("arm"), pl.lit(int(seed), pl.Int64).alias("seed")]


def _conditions(material: Material, run: RunFolder, texts: list[str]) -> Conditions:
    """As written, swapped, and beside the control's the source text, which is one for all."""
    swapped = shuffled(texts, material.test_table[DOC_ID].to_list())
    found: Conditions = {ORIGINAL: [*texts], SHUFFLED: swapped}
    if run.identity[2] == CONTROL:
        found[SOURCE_TEXT] = [*material.source_texts]
    return found


def _floors(
    material: Material, readers: Mapping[str, Reader], tested: dict[RunFolder, list[str]]
) -> list[pl.DataFrame]:
    """What readers that are no language models get from the control's texts, and the teacher's.

    They are fitted to what the neutral AR is trained on. The target's own blocks are the ceiling.
    """
    ceiling = material.ceiling([AV, AV_NEUTRAL_AR, AV_UNTRAINED_AR, TEACHER])
    frames = []
    for run, written in tested.items():
        if run.identity[2] == CONTROL:
            taught = material.test_table[TEACHER].to_list()
            asked = {AV: written, AV_NEUTRAL_AR: written, AV_UNTRAINED_AR: written, TEACHER: taught}
            frames += [
                material.judge.rows(read, {ORIGINAL: [*wanted]}, source).with_columns(
                    pl.lit(name).alias("arm"), _named(run)[1]
                )
                for source, wanted in asked.items()
                for name, read in readers.items()
            ]
            frames.append(ceiling.with_columns(_named(run)[1]))
    return frames


def _looks(runs: list[RunFolder]) -> pl.DataFrame:
    """What the AV of every run said of the dev activations at every look."""
    looks = [
        run.table(file, [KEY, EXPLANATION]).with_columns(
            # As in metrics.jsonl: the last step that was made.
            *_named(run),
            pl.lit(max(0, int(file.stem) - 1), pl.Int64).alias("step"),
        )
        for run in runs
        for file in sorted(run.dev_texts.glob(LOOKS))
    ]
    return pl.concat(looks)


def _read_looks(material: Material, read: Reader, looks: pl.DataFrame) -> pl.DataFrame:
    """FVE of the explanations of the dev activations at every look of every run."""
    keys = looks[KEY].to_list()
    errors = squared_errors(read(readings_of(looks[EXPLANATION].to_list())), material.store[keys])
    variance = material.variance_of(sorted(set(keys)))
    means = (
        looks.with_columns(value=1 - pl.Series(errors.double().tolist()) / variance)
        .group_by("arm", "seed", "step", maintain_order=True)
        .agg(pl.col("value").mean())
    )
    named = means.with_columns(metric=pl.lit("dev_fve_neutral_ar"))
    return named.select(CURVES_SCHEMA.names()).cast(CURVES_SCHEMA)
