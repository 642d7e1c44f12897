"""The one object behind all routes: state, clock, faults, tasks and the parts that do the work."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import duckdb

from elastic_sandbox.clock import Clock
from elastic_sandbox.errors import not_available_on_serverless, security
from elastic_sandbox.faults import Faults
from elastic_sandbox.state import ClusterState
from elastic_sandbox.tasks import Tasks
from elastic_sandbox.turns import Turns
from elastic_sandbox.versions import knows

if TYPE_CHECKING:
    from elastic_sandbox.documents import Documents
    from elastic_sandbox.enrich import Enrich
    from elastic_sandbox.esql import Esql
    from elastic_sandbox.indices import Indices
    from elastic_sandbox.ingest import Ingest
    from elastic_sandbox.kibana.service import Kibana
    from elastic_sandbox.ml import MachineLearning
    from elastic_sandbox.search import Search
    from elastic_sandbox.transform import Transforms

log = logging.getLogger(__name__)

HALT_SECONDS = 10
"""How long a reset or a stop waits for what runs, however much that is."""
DATABASE_FILE = "sandbox.duckdb"
LICENSES = ("basic", "trial", "platinum")
FLAVORS = ("default", "serverless")


class DataDirectoryError(Exception):
    """The data directory cannot be used; the message is the sentence to show."""


class Backend:
    """State and parts of one sandbox cluster.

    :param data: directory for the DuckDB file and the translog; in memory when None
    :param version: what ``GET /`` reports
    :param flavor: ``default`` or ``serverless``
    :param license: ``basic`` refuses machine learning as a real basic licence does
    :raises DataDirectoryError: the directory is not writable, in use by another process, no sandbox's, or its disk is
        full
    """

    indices: Indices
    documents: Documents
    search: Search
    ingest: Ingest
    enrich: Enrich
    ml: MachineLearning
    transforms: Transforms
    esql: Esql
    kibana: Kibana

    def __init__(
        self,
        data: Path | None = None,
        *,
        version: str = "9.5.0",
        flavor: Literal["default", "serverless"] = "default",
        license: str = "platinum",  # noqa: A002 (the API's own word)
    ) -> None:
        self.version = version
        self.flavor = flavor
        self.license = license
        self.data = data
        self.lock = threading.RLock()
        self.turns = Turns()
        self.clock = Clock()
        self.started_ms = self.clock.now_ms()
        self.api_key_id: str | None = None
        """Of the key that callers present, when the server was given one."""
        self.faults = Faults()
        self.connection = _open(data)
        try:
            self._make_parts()
        except (duckdb.Error, OSError) as error:
            self.connection.close()
            if data is None:
                raise
            raise _unusable(data, error) from error

    def _make_parts(self) -> None:
        self.state = ClusterState(self.connection, durable=self.data is not None)
        self.tasks = Tasks(self.state, self.clock)
        # Imported here, so that each part can name Backend; made in this order, as later parts look at earlier ones.
        from elastic_sandbox.documents import Documents
        from elastic_sandbox.enrich import Enrich
        from elastic_sandbox.esql import Esql
        from elastic_sandbox.indices import Indices
        from elastic_sandbox.ingest import Ingest
        from elastic_sandbox.kibana.service import Kibana
        from elastic_sandbox.ml import MachineLearning
        from elastic_sandbox.search import Search
        from elastic_sandbox.transform import Transforms

        self.indices = Indices(self)
        self.documents = Documents(self)
        self.search = Search(self)
        self.ingest = Ingest(self)
        self.enrich = Enrich(self)
        self.ml = MachineLearning(self)
        self.transforms = Transforms(self)
        self.esql = Esql(self)
        self.kibana = Kibana(self)
        self.transforms.resume()
        self.kibana.resume()

    @property
    def authorization(self) -> dict[str, Any]:
        """Whose rights a datafeed or transform keeps that is written now, as its configuration shows them."""
        if self.api_key_id is None:
            return {"roles": ["superuser"]}
        return {"api_key": {"id": self.api_key_id, "name": "sandbox"}}

    @property
    def parts(self) -> list[Any]:
        """The parts, in the order they were made."""
        return [self.indices, self.documents, self.search, self.ingest, self.enrich, self.ml, self.transforms,
                self.esql, self.kibana]  # fmt: skip

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A cursor of its own for the calling thread; hold :attr:`lock` while writing with it."""
        return self.connection.cursor()

    def knows(self, feature: str) -> bool:
        """Whether the version in force has a feature of :data:`elastic_sandbox.versions.SINCE`."""
        return knows(self.version, feature)

    def require_ml(self) -> None:
        """Raise the licence refusal of machine learning unless the licence covers it."""
        if self.license == "basic":
            raise security(403, "current license is non-compliant for [ml]", **{"license.expired.feature": "ml"})

    def require_not_serverless(self, method: str, path: str) -> None:
        """Raise 410 for an API that Serverless does not offer."""
        if self.flavor == "serverless":
            raise not_available_on_serverless(method, path)

    def _halt(self) -> None:
        """Stop all workers and wait for them, without the lock, which they may need to come to their end."""
        threads = [*self.tasks.halt(), *self.kibana.halt(), *self.transforms.halt(), *self.ml.halt()]
        workers = [thread for thread in threads if thread.is_alive()]
        until = time.monotonic() + HALT_SECONDS
        for worker in workers:
            worker.join(max(0.0, until - time.monotonic()))
        if late := [worker.name for worker in workers if worker.is_alive()]:
            log.warning("did not end within %d seconds and are left behind: %s", HALT_SECONDS, ", ".join(late))

    def reset(self) -> None:
        """An empty cluster again, clock and faults included."""
        self.clock.reset()
        self.faults.reset()
        self._halt()
        with self.lock:
            node = self.state.get("settings", "node")
            self.state.clear()
            if node is not None:
                self.state.put("settings", "node", node)
            for part in self.parts:
                part.reset()

    def close(self) -> None:
        """Stop tasks, flush and close the database."""
        self._halt()
        with self.lock:
            for part in reversed(self.parts):
                part.close()
            self.state.close()
            self.connection.close()


def _open(data: Path | None) -> duckdb.DuckDBPyConnection:
    if data is None:
        return duckdb.connect(":memory:")
    probe = data / ".writable"
    try:
        # What is in it may be personal: nobody else reads it.
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x" * 65536)
        finally:
            probe.unlink(missing_ok=True)
        # After a kill DuckDB looks for the functions of a changed column's expression among its extensions, and would
        # download what is part of it.
        return duckdb.connect(str(data / DATABASE_FILE), config={"autoinstall_known_extensions": "false"})
    except (OSError, duckdb.Error) as error:
        raise _unusable(data, error) from error


def _unusable(data: Path, error: Exception) -> DataDirectoryError:
    """Why the data directory cannot be used, and what to do."""
    said = str(error)
    if "No space left on device" in said:
        return DataDirectoryError(
            f"the disk of the data directory {data} is full; free space or choose another with --data"
        )
    if isinstance(error, OSError):
        return DataDirectoryError(
            f"cannot write to the data directory {data}: {error.strerror}; choose one that you may write with --data"
        )
    if "Could not set lock" in said:
        return DataDirectoryError(
            f"the data directory {data} is in use by another sandbox; stop that one or choose another with --data"
        )
    return DataDirectoryError(
        f"cannot open {data / DATABASE_FILE}: {said}; delete {data} to start empty, or choose another with --data"
    )
