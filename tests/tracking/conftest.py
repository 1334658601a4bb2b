"""A store of MLflow for a file of tests."""

import importlib
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from common.tracking.client import connect


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose mlflow.db was created by two processes at once."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        importlib.import_module("mlflow")  # once for both
        creators = [get_context("fork").Process(target=connect) for _ in range(2)]
        for creator in creators:
            creator.start()
        for creator in creators:
            creator.join(timeout=60)
        assert [creator.exitcode for creator in creators] == [0, 0]
    return folder


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of that store, which is MLflow's for as long as a test lasts."""
    monkeypatch.chdir(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}/mlflow.db")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return connect()
