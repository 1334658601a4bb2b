"""One AR for all arms: it was trained with none of their AVs, and on as much text of each."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import polars as pl

from common.arms.arm import Arm
from common.arms.record import OWN_TEXTS
from common.data.activations import write_atomically
from common.data.batches import Example, examples_of
from common.device import best_device
from common.errors import NlaError
from common.evaluation.conditions import ORIGINAL
from common.manifest import read_table
from common.paths import neutral_run
from common.provenance import code_digest
from common.rollout.reading import reconstruct
from common.runs import RunFolder
from common.schema import AR_SFT, AV_NEUTRAL_AR, EXPLANATION, KEY, SPLIT, TEACHER, TEST
from common.warm_start import CODE, fit_ar, load_ar_of


def run_neutral(arms: Sequence[Arm]) -> None:
    """Train the neutral AR on as many explanations of each arm and of the teacher, then test it.

    They are of activations that no AV was optimised on.
    """
    if not arms[0].has_own_texts:
        what = f"the arms of {arms[0].experiment.name} all read the same texts"
        raise NlaError(what, remedy="no neutral AR is needed, go on with `nla collect`")
    first, folder = arms[0], RunFolder(neutral_run(arms[0].profile.name, arms[0].experiment.name))
    spoken = {run: own_texts(run) for run in runs_of(arms)}
    config = {
        "ar": first.profile.ar.model_dump(),
        "trainer": first.profile.trainer.model_dump(),
        "runs": {str(run.path): run.summary["digest"] for run in spoken},
        "code": code_digest("common/arms", *CODE),
    }
    with folder.locked():
        if folder.is_finished(config) and folder.rows_file.exists():
            return
        apart = balanced({r: t.filter(pl.col(SPLIT) == AR_SFT) for r, t in spoken.items()})
        taught = first.material.explanations(TEACHER).filter(pl.col(SPLIT) == AR_SFT)
        pooled = [*chain(*apart), *examples_of(taught, len(apart[0]))]
        fit_ar(folder, config, first.material, pooled, lambda: _test(first, folder, spoken))


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
    return read_table(run.path / OWN_TEXTS, f"experiments/{run.identity[1]}")


def _test(arm: Arm, folder: RunFolder, spoken: dict[RunFolder, pl.DataFrame]) -> None:
    material, profile = arm.material, arm.profile
    model = load_ar_of(folder, material).to(best_device()).eval()
    size, precision = profile.evaluation.batch_size, profile.trainer.precision
    frames = []
    for run, table in spoken.items():
        texts = dict(table.filter(pl.col(SPLIT) == TEST).select(KEY, EXPLANATION).iter_rows())
        ordered = [texts[key] for key in material.test_table[KEY]]
        rows = material.judge.rows(
            lambda wanted: reconstruct(model, wanted, size, precision),
            {ORIGINAL: ordered},
            AV_NEUTRAL_AR,
        )
        named = {"arm": pl.lit(run.identity[2]), "seed": pl.lit(int(run.identity[3]), pl.Int64)}
        frames.append(rows.with_columns(**named))
    write_atomically(pl.concat(frames), folder.rows_file)
