"""Make a run: lock, begin, track, train, test, finish. Killed anywhere, it continues there."""

import logging
import shutil
import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from common.allocator import free_finished_runs
from common.arms.arm import Arm
from common.device import device_name
from common.files import write_atomically
from common.lifecycle.check import chosen, made_with
from common.lifecycle.samples import write_samples
from common.lifecycle.tune import NOTHING_TUNED, known
from common.processes import check_shares, everywhere
from common.runs import MadeWith, RunFolder
from common.tracking.tracker import Tracker, tracked_run
from common.tuning.study import Best

log = logging.getLogger(__name__)


def has_finished(arm: Arm, seeds: Sequence[int]) -> bool:
    """Whether the tuning budget is spent and these runs are made; imports nothing heavy if so."""
    best = known(arm)
    if best is None:
        return False
    folders = {seed: arm.run_folder(seed) for seed in seeds}
    if not all(run.is_finished(made_with(arm, seed, best)) for seed, run in folders.items()):
        return False
    for run in folders.values():
        log.info("%s is finished already", run.path)
    return True


def make_run(arm: Arm, seed: int, best: Best = NOTHING_TUNED) -> RunFolder:
    """Train the best setting and test it; what is done already is not done again.

    If only the test has changed, a trained run is tested again from its checkpoint.
    """
    check_shares(arm.profile, **arm.global_batch_sizes)
    folder = arm.run_folder(seed)
    with folder.locked():
        made = made_with(arm, seed, best)
        if folder.is_finished(made):
            log.info("%s is finished already", folder.path)
            return folder
        free_finished_runs()
        is_trained = folder.is_trained(made)
        folder.begin(made)
        with tracked_run(folder) as tracker:
            if is_trained:
                log.info("%s is trained already: it is tested again", folder.path)
            else:
                _train(arm, tracker, seed, best)
                free_finished_runs()
            _test(arm, folder, seed, made)
        shutil.rmtree(folder.path / "resume", ignore_errors=True)
    return folder


def _train(arm: Arm, tracker: Tracker, seed: int, best: Best) -> None:
    folder, config = tracker.folder, chosen(arm, best)
    folder.trained_file.unlink(missing_ok=True)
    trained, facts = everywhere(arm.profile, arm.train, tracker, config, seed)
    arm.save(trained, folder)
    folder.end_training({**best.params, **facts, "device": device_name()})


def _test(arm: Arm, folder: RunFolder, seed: int, made: MadeWith) -> None:
    """Test what the checkpoint holds, never the model in memory."""
    started = time.perf_counter()
    outcome = arm.test(arm.load(folder), seed)
    tables = {
        folder.rows_file: _named(outcome.rows, arm.name, seed),
        folder.measures_file: _named(outcome.measures, arm.name, seed),
        folder.texts_file: outcome.texts,
        folder.curves_file: _named(outcome.curves, arm.name, seed),
    }
    for file, table in tables.items():
        file.unlink(missing_ok=True)
        if table is not None:
            write_atomically(table, file)
    folder.samples_file.unlink(missing_ok=True)
    if arm.has_samples:
        write_samples(folder, arm.test_set(seed).table, outcome)
    seconds = round(time.perf_counter() - started, 2)
    folder.finish({**folder.trained, **outcome.facts, "evaluate_seconds": seconds})


def _named(table: pl.DataFrame | None, arm: str, seed: int) -> Any:
    """With the columns `arm` and `seed`, unless the table is about several arms."""
    if table is None or "arm" in table.columns:
        return table
    return table.with_columns(arm=pl.lit(arm), seed=pl.lit(seed, pl.Int64))
