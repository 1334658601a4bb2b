"""Each trouble with MLflow is one line: what, where, and the remedy; training goes on."""

import logging
import shutil
import sqlite3
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy.exc import OperationalError

from common.errors import NlaError
from common.runs import MadeWith, RunFolder
from common.tracking.tracker import open_run, sync
from common.tracking.trouble import trouble, without_password


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "smoke" / "trouble" / "control" / "0")
    run.begin(MadeWith({"a": 1}, {}, {"trained": "x", "tested": "x"}))
    return run


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of today's MLflow. Read only."""
    place = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place}/mlflow.db")
        run = RunFolder(place / "smoke" / "trouble" / "control" / "0")
        run.begin(MadeWith({"a": 1}, {}, {"trained": "x", "tested": "x"}))
        open_run(run).finish()
    return place / "mlflow.db"


def told(
    folder: RunFolder, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> str:
    """What `nla sync` says, and a run that goes on warns of."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with caplog.at_level(logging.WARNING, "common"):
        tracker = open_run(folder)
        folder.finish({})
        tracker.finish()
    (warning,) = caplog.records
    with pytest.raises(NlaError) as caught:
        sync(folder)
    line = str(caught.value)
    assert warning.getMessage() == (
        f"MLflow is off for this run ({line}); import it later with `nla sync {folder.path}`"
    )
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("uri", "line"),
    [
        ("bogus://x", "no such kind of address [bogus://x]: let MLFLOW_TRACKING_URI name a data"),
        ("some/folder", "keeps no runs in folders any more [some/folder]: let MLFLOW_TRACKING"),
        (
            "postgresql+psycopg://me:secret@127.0.0.1:9/x",
            "nothing answers [postgresql+psycopg://***@",
        ),
        (
            "mysql://me:secret@127.0.0.1/x",
            "no driver for this database (No module named 'MySQLdb')",
        ),
        (
            "http://me:secret@127.0.0.1:9",
            "nothing answers [http://***@127.0.0.1:9]: start the serv",
        ),
    ],
)
def test_an_address_that_leads_nowhere(
    folder: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    uri: str,
    line: str,
):
    found = told(folder, uri, monkeypatch, caplog)
    assert line in found
    assert "secret" not in found


def test_a_database_of_another_release(
    folder: RunFolder,
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    other = shutil.copy(database, tmp_path / "other.db")
    with sqlite3.connect(other) as connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")
    connection.close()
    line = told(folder, f"sqlite:///{other}", monkeypatch, caplog)
    assert f"the database is of another release [sqlite:///{other}]: back it up" in line
    assert f"`mlflow db upgrade sqlite:///{other}`" in line


def test_a_file_that_is_no_database(
    folder: RunFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    (tmp_path / "torn.db").write_text("no database at all" * 100)
    line = told(folder, f"sqlite:///{tmp_path}/torn.db", monkeypatch, caplog)
    assert "the file is damaged or no database" in line
    assert "move it away" in line


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[int]]]:
    """A server that is not MLflow's, and the status that it answers with."""
    status = [404]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status[0])
            self.end_headers()
            self.wfile.write(b"<html>")

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *_: object) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", status
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (404, "what answers is no MLflow server"),
        (200, "what answers is no MLflow server"),
        (401, "the server refuses"),
    ],
)
def test_a_server_that_is_another_or_refuses(
    folder: RunFolder,
    refusing: tuple[str, list[int]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
    line: str,
):
    uri, answer = refusing
    answer[0] = status
    assert f"MLflow: {line} [{uri}]" in told(folder, uri, monkeypatch, caplog)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("attempt to write a readonly database", "it cannot be written"),
        ("unable to open database file", "it cannot be written"),
        ("database is locked", "another process holds the database"),
        ("something new", "MLflow does not answer"),
    ],
)
def test_what_sqlite_says(words: str, line: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    error = OperationalError("insert", {}, sqlite3.OperationalError(words))
    assert line in str(trouble(error))
    assert "[sqlite:///mlflow.db]" in str(trouble(error))
    assert "[SQL" not in str(trouble(error))


def test_a_password_is_not_shown():
    assert without_password("at http://me:secret@host:1/a and x") == "at http://***@host:1/a and x"
    assert without_password("sqlite:///mlflow.db") == "sqlite:///mlflow.db"
