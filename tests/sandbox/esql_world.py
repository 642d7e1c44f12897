"""A backend with some indices, and queries over it that are checked against Elastic's grammar on the way."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from harness.esql import syntax_errors

from elastic_sandbox.backend import Backend
from elastic_sandbox.documents import BulkOperation
from elastic_sandbox.errors import ElasticError
from elastic_sandbox.esql import Result

DEFAULT_LIMIT = "No limit defined, adding default limit of [1000]"


class World:
    """Indices and documents in memory."""

    def __init__(self, **options: Any) -> None:
        self.backend = Backend(**options)

    def index(self, name: str, properties: dict[str, Any], documents: list[dict[str, Any]], **settings: Any) -> None:
        """Create an index; a field's type may stand for its mapping."""
        mapped = {path: {"type": one} if isinstance(one, str) else one for path, one in properties.items()}
        self.backend.indices.create(name, {"settings": settings, "mappings": {"properties": mapped}})
        operations = [
            BulkOperation("index", name, str(number), raw=orjson.dumps(document))
            for number, document in enumerate(documents)
        ]
        items = self.backend.documents.bulk(operations, refresh=True) if operations else []
        assert all("error" not in next(iter(item.values())) for item in items), items

    def ask(self, query: str, **options: Any) -> Result:
        """The answer to a query that Elastic's grammar accepts."""
        assert syntax_errors(query) == []
        return self.backend.esql.query(query, **options)

    def rows(self, query: str, **options: Any) -> list[list[Any]]:
        """Its values."""
        return self.ask(query, **options).values

    def row(self, expressions: str, **options: Any) -> list[Any]:
        """The values of ``ROW expressions``."""
        return self.rows(f"ROW {expressions}", **options)[0]

    def types(self, query: str) -> dict[str, str]:
        """Type by column."""
        return {column["name"]: column["type"] for column in self.ask(query).columns}

    def warnings(self, query: str) -> list[str]:
        """Its warnings, the one of the default limit aside."""
        return [text for text in self.ask(query).warnings if text != DEFAULT_LIMIT]

    def refused(self, query: str, **options: Any) -> ElasticError:
        """The error of a query."""
        with pytest.raises(ElasticError) as caught:
            self.backend.esql.query(query, **options)
        return caught.value

    def problem(self, query: str) -> str:
        """The one problem that the verifier finds."""
        error = self.refused(query)
        assert (error.status, error.type) == (400, "verification_exception")
        head, _, rest = error.reason.partition("\n")
        assert head == "Found 1 problem"
        return rest.removeprefix("line ")
