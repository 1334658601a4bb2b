import pytest

from common.report.results import Results
from tests.report.synthetic import synthetic_results


@pytest.fixture(scope="session")
def results() -> Results:
    return synthetic_results()
