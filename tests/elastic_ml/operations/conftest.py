"""The clinic on a cluster that is set up once and emptied before each test; and one to take apart."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic.operations import MODEL_ID, Operations
from clinic.world import open_clinic, short_waits

from elastic_sandbox.testing import Sandbox, serve


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    with short_waits():
        yield


@pytest.fixture(scope="session")
def _shared_clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operations]:
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("operations")) as opened:
        yield Operations(opened)


@pytest.fixture
def clinic(_shared_clinic: Operations) -> Operations:
    """The project, set up, on a cluster without a document, a model or a job."""
    _shared_clinic.as_set_up()
    return _shared_clinic


@pytest.fixture
def production(clinic: Operations) -> Operations:
    """The clinic with `misuse` in production."""
    clinic.promote(MODEL_ID)
    return clinic


@pytest.fixture
def own_clinic(sandbox: Sandbox, tmp_path: Path) -> Iterator[Operations]:
    """The project, set up, on a cluster that the test may take apart."""
    with open_clinic(sandbox, tmp_path) as opened:
        yield Operations(opened)
