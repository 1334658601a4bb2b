"""One Optuna study: its search space, its storage and its results."""

import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import optuna
import polars as pl
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from common.config_base import Config
from common.errors import NlaError
from common.manifest import digest_of
from common.params import SearchSpace
from common.paths import OPTUNA_URI
from common.tuning.trials import DONE, slot_of

STARTUP_TRIALS = 2
"""Settings drawn at random, and complete trials needed before one is pruned."""


class Sweep(Config):
    """What is the same for every arm of an experiment, and the name of this arm's study."""

    name: str
    """`<profile>/<experiment>/<arm>`."""
    space: SearchSpace
    budget: int = Field(ge=1)
    """Number of complete and pruned trials, exactly."""
    config_digest: str
    """Digest of everything but the searched values and the budget."""
    directions: tuple[Literal["maximize", "minimize"], ...] = ("maximize",)
    storage: str = OPTUNA_URI
    sampler_key: str = ""
    """Studies with the same seed start from the same settings, so that no arm has better luck."""
    first: dict[str, float] = Field(default_factory=dict)
    """The setting that is tried first (empty: drawn like the others)."""


class Best(NamedTuple):
    """The best setting, for runs with other seeds."""

    params: dict[str, float]
    values: tuple[float, ...]
    number: int
    trials: int
    """Complete and pruned trials of the study."""


def open_study(sweep: Sweep) -> optuna.Study:
    """Create or load the study; NlaError if another config, space or direction made it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=sweep.name,
        storage=_open_storage(sweep.storage),
        directions=sweep.directions,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=2),
        load_if_exists=True,
    )
    digest = digest_of(sweep.model_dump(include={"config_digest", "space", "directions"}))
    recorded = study.user_attrs.get("config_digest")
    if recorded is None:
        study.set_user_attr("config_digest", digest)
    elif recorded != digest:
        command = f"optuna delete-study --study-name {sweep.name} --storage {_shown(sweep.storage)}"
        raise NlaError(
            "study was made with another config or search space",
            where=sweep.name,
            remedy=f"restore the config, or start afresh after `{command}`",
        )
    return study


def best_of(study: optuna.Study) -> Best:
    """The best trial; of a Pareto front, the best one by the first direction."""
    if not study.best_trials:
        raise NlaError("no trial was complete", where=study.study_name, remedy="prune less")
    sign = -1 if study.directions[0] == optuna.study.StudyDirection.MAXIMIZE else 1
    best = min(study.best_trials, key=lambda trial: (sign * trial.values[0], trial.number))
    trials = len(study.get_trials(deepcopy=False, states=DONE))
    return Best(dict(best.params), tuple(best.values), best.number, trials)


def known_best(sweep: Sweep) -> Best | None:
    """The best trial so far; None if there is none here, as for runs of another machine."""
    url = make_url(sweep.storage)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return None
    try:
        study = optuna.load_study(study_name=sweep.name, storage=_open_storage(sweep.storage))
    except (KeyError, NlaError):
        return None
    return best_of(study) if study.best_trials else None


def trials_table(name: str, storage: str = OPTUNA_URI) -> pl.DataFrame:
    """The trials of a study by number: slot, state, value(s), duration_s, `params_*`, `user_*`.

    Trials that were killed, interrupted or beyond the budget are left out. `front` marks the best
    trials; with several directions, the Pareto front (`value_1`, ... are the further directions).
    """
    try:
        study = optuna.load_study(study_name=name, storage=_open_storage(storage))
    except KeyError as error:
        raise NlaError("no such study", where=name, remedy="run its sweep first") from error
    front = {trial.number for trial in study.best_trials}
    rows = [_row(trial, trial.number in front) for trial in study.trials if _is_told(trial)]
    first = ["number", "slot", "state", "front", "value", "duration_s"]
    further = sorted({name for row in rows for name in row} - set(first))
    columns = {name: [row.get(name) for row in rows] for name in first + further}
    return pl.DataFrame(columns, strict=False)


def _is_told(trial: FrozenTrial) -> bool:
    """Whether a trial is complete, pruned or raised; not killed, running or beyond the budget."""
    return trial.state in DONE or (trial.state == TrialState.FAIL and "error" in trial.user_attrs)


def _row(trial: FrozenTrial, front: bool) -> dict[str, Any]:
    bookkeeping = {"owner", "heartbeat", "retry_of"}
    value, *others = trial.values or [None]
    return {
        "number": trial.number,
        "slot": slot_of(trial),
        "state": trial.state.name.lower(),
        "front": front,
        "value": value,
        "duration_s": trial.duration.total_seconds() if trial.duration else None,
        **{f"value_{index}": other for index, other in enumerate(others, start=1)},
        **{f"params_{name}": number for name, number in trial.params.items()},
        **{f"user_{k}": v for k, v in trial.user_attrs.items() if k not in bookkeeping},
    }


def _open_storage(url: str) -> optuna.storages.RDBStorage:
    """Open a database and create its tables, even if others create them at the same time."""
    is_sqlite = make_url(url).get_backend_name() == "sqlite"
    connect = {"timeout": 60, "isolation_level": None} if is_sqlite else {}
    try:
        storage = _create_tables(url, {"connect_args": connect}, attempts=6)
    except ImportError as error:
        remedy = "pip install --editable '.[postgres]'"
        raise NlaError(f"no driver ({error})", where=_shown(url), remedy=remedy) from error
    except (DBAPIError, optuna.exceptions.StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        remedy = "start the server or mend the storage URL"
        what = f"cannot open the Optuna storage ({reason})"
        raise NlaError(what, where=_shown(url), remedy=remedy) from error
    if is_sqlite:
        # Optuna reads a trial's state, then writes it, under row locks that sqlite lacks: taking
        # the write lock first keeps two workers from popping the same trial.
        event.listen(storage.engine, "begin", _begin_immediate)
    return storage


def _create_tables(url: str, engine: dict[str, Any], attempts: int) -> optuna.storages.RDBStorage:
    """With two creators at once, one finds a table that was not there before, and tries again."""
    try:
        return optuna.storages.RDBStorage(url, engine)
    except (DBAPIError, optuna.exceptions.StorageInternalError):
        if attempts == 1:
            raise
    time.sleep(0.3)
    return _create_tables(url, engine, attempts - 1)


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
