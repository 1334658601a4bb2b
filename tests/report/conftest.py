import pytest

from common.report import fve
from common.report.results import Results
from tests.report.synthetic import synthetic_results


@pytest.fixture(scope="session")
def results() -> Results:
    return synthetic_results()


@pytest.fixture
def few_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables worked out by hand have a handful of documents."""
    monkeypatch.setattr(fve, "FEWEST_DOCUMENTS", 2)
