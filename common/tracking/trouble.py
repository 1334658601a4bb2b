"""What is wrong with MLflow, and what would help: one line instead of another library's page."""

import os
import re

from common.errors import NlaError, first_line
from common.paths import MLFLOW_URI

VARIABLE = "MLFLOW_TRACKING_URI"
ELSEWHERE = f"let {VARIABLE} name another database, or unset it to use {MLFLOW_URI}"
WRITABLE = f"make the file and its folder writable, or let {VARIABLE} name another database"
AWAY = "move it away: a new one is made, into which `nla sync` imports every run again"
SERVER = f"start the server there, or correct or unset {VARIABLE}"
FOLDER = f"let {VARIABLE} name a database ({MLFLOW_URI}) or a server, or unset it"
OTHER_RELEASE = "back it up and run `mlflow db upgrade {uri}`, or install the release that made it"
KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"error code 40[13]", "the server refuses", "set MLFLOW_TRACKING_USERNAME and ..._PASSWORD"),
    (r"error code 5\d\d", "the server fails", "look at its log, and try again later"),
    (r"error code|not in a valid JSON", "what answers is no MLflow server", SERVER),
    (r"failed with exception|Connection refused|connection failed", "nothing answers", SERVER),
    (r"database schema|locate revision", "the database is of another release", OTHER_RELEASE),
    (r"readonly|unable to open|Permission denied|Read-only", "it cannot be written", WRITABLE),
    (r"No such file or directory", "there is no such place", ELSEWHERE),
    (r"database is locked", "another process holds the database", "try again when that has ended"),
    (r"not a database|malformed", "the file is damaged or no database", AWAY),
    (r"maintenance mode", "it keeps no runs in folders any more", FOLDER),
    (r"unsupported URI|parse .*URL|UnsupportedModelRegistry", "no such kind of address", FOLDER),
    (r"active' state.*deleted", "the run was deleted meanwhile", "import its folder again"),
)
"""Words in an error, what they mean, and the remedy."""


def tracking_uri() -> str:
    """Where MLflow is."""
    return os.environ.get(VARIABLE) or MLFLOW_URI


def trouble(error: Exception) -> NlaError:
    """One of `failures` in one line: what is wrong, where, and what would help."""
    if isinstance(error, NlaError):
        return error
    uri, text = without_password(tracking_uri()), str(error)
    if isinstance(error, ImportError):
        if (error.name or "mlflow").partition(".")[0] in ("mlflow", "sqlalchemy"):
            return NlaError("MLflow is not installed", remedy="make install")
        what = f"MLflow: no driver for this database ({first_line(error)})"
        return NlaError(what, where=uri, remedy=f"install it, or correct {VARIABLE}")
    for words, what, remedy in KNOWN:
        if re.search(words, text, re.IGNORECASE):
            return NlaError(f"MLflow: {what}", where=uri, remedy=remedy.format(uri=uri))
    what = f"MLflow does not answer ({without_password(first_line(error))})"
    return NlaError(what, where=uri, remedy=SERVER)


def deleted_experiment(name: str, number: str) -> NlaError:
    """MLflow keeps a deleted experiment's name, under which no run can be made."""
    uri = without_password(tracking_uri())
    places = "" if uri.startswith("http") else f"--tracking-uri {uri} --backend-store-uri {uri} "
    remedy = (
        f"bring it back with `mlflow experiments restore --experiment-id {number}`, or delete it"
        f" for good with `mlflow gc {places}--experiment-ids {number}`"
    )
    return NlaError(f"MLflow: experiment {name!r} was deleted", where=uri, remedy=remedy)


def without_password(text: str) -> str:
    """User and password of an address are nobody's business."""
    return re.sub(r"://[^@/\s]*@", "://***@", text)


def failures() -> tuple[type[Exception], ...]:
    """What MLflow raises when it is missing or does not answer, and what we say of it."""
    try:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        return ImportError, NlaError
    return ImportError, OSError, MlflowException, SQLAlchemyError, NlaError
