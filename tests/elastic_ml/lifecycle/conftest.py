"""A clinic with a champion, the one before it, and the tasks that decide between them."""

from collections.abc import Iterator

import pytest
from clinic.lifecycle import InProduction
from clinic.world import Clinic, open_clinic, short_waits

from elastic_sandbox.testing import serve


@pytest.fixture(autouse=True)
def _short_waits() -> Iterator[None]:
    with short_waits():
        yield


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with serve() as sandbox, open_clinic(sandbox, tmp_path_factory.mktemp("lifecycle")) as clinic:
        with short_waits():
            clinic.fill()
            clinic.train()
        clinic.card = clinic.client.get(index=clinic.names.model_cards, id=clinic.model_id)["_source"]
        clinic.learned = dict(clinic.xcoms)
        yield clinic


@pytest.fixture
def trained(_trained: Clinic) -> Clinic:
    """A clinic whose model `misuse` is trained and judged, and on which nobody has decided."""
    _trained.as_trained()
    return _trained


@pytest.fixture
def production(trained: Clinic) -> InProduction:
    """The trained model in production, after a small one made by hand."""
    production = InProduction(trained)
    production.put(production.old)
    production.put(trained.model_id)
    return production
