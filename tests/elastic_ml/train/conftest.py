"""The clinic as fixtures: set up, filled, or with its model trained."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clinic.world import Clinic, open_clinic, short_waits

from elastic_sandbox.testing import Sandbox, serve


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    with short_waits():
        yield


@pytest.fixture
def clinic(sandbox: Sandbox, tmp_path: Path) -> Iterator[Clinic]:
    """The project, set up, on an empty cluster."""
    with open_clinic(sandbox, tmp_path) as clinic:
        yield clinic


@pytest.fixture
def filled(clinic: Clinic) -> Clinic:
    """The clinic with two weeks of accesses and verdicts."""
    clinic.fill()
    return clinic


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    # Training costs seconds, so it is done once, on a cluster of its own; `trained` gives it back as it was.
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("trained")) as clinic:
        with short_waits():
            clinic.fill()
            clinic.train()
        clinic.card = clinic.client.get(index=clinic.names.model_cards, id=clinic.model_id)["_source"]
        clinic.learned = dict(clinic.xcoms)
        clinic.registered = clinic.events()
        yield clinic


@pytest.fixture
def trained(_trained: Clinic) -> Clinic:
    """A clinic whose model `misuse` is trained and judged, and on which nobody has decided."""
    _trained.as_trained()
    return _trained
