"""ES|QL: the part that answers ``_query``, and runs queries for rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb

from elastic_sandbox.errors import unsupported
from elastic_sandbox.esql.answer import Result, described, rendered
from elastic_sandbox.esql.runtime import Runtime

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.esql.scope import Compilation
    from elastic_sandbox.indices import Index


class Esql:
    """Queries over the refreshed documents."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._runtime = Runtime(backend.connection)

    def query(self, text: str, *, params: list[Any] | None = None, filter: dict[str, Any] | None = None) -> Result:  # noqa: A002  the API's own word
        """The rows of a query.

        :param params: as in the body of ``_query``: values in order, or ``{name: value}`` each
        :param filter: query DSL that the documents of FROM must match
        :raises ElasticError: 400 parsing_exception or verification_exception in the server's words; 501 for what only
            the sandbox lacks
        """
        # The compiler is loaded with the first query: most starts of the sandbox never see one.
        from elastic_sandbox.esql.commands import Compiler, source_names
        from elastic_sandbox.esql.errors import verification_error
        from elastic_sandbox.esql.parameters import bound, parameters_of
        from elastic_sandbox.esql.parser import parse
        from elastic_sandbox.esql.scope import Compilation
        from elastic_sandbox.esql.source import resolve_sources
        from elastic_sandbox.search.query_parser import query_of

        commands = bound(parse(text), parameters_of(params or []))
        patterns, joined = source_names(commands)
        indices: list[Index] = []
        if patterns:
            found = resolve_sources(self._backend, patterns)
            if found is None:
                node = commands[0].node
                raise verification_error([f"{node.line}:{node.column}: Unknown index [{','.join(patterns)}]"])
            indices = found
        lookups = {name: resolve_sources(self._backend, [name]) or [] for name, _ in joined}
        everything = {index.uuid: index for index in [*indices, *(one for many in lookups.values() for one in many)]}
        with self._backend.lock:
            number = self._runtime.start()
        try:
            with self._backend.documents.view(list(everything.values())) as snapshot:
                compilation = Compilation(
                    self._runtime, snapshot.cursor, self._backend.clock.now_ms(), self._backend.version, number
                )
                query = None if filter is None else query_of(filter)
                compiler = Compiler(compilation, snapshot, indices, lookups, query)
                sql, columns = compiler.compile(commands)
                if compilation.problems:
                    raise verification_error(compilation.problems)
                rows = self._run(compilation, sql)
        finally:
            failures = self._runtime.finish(number)
        types = [value.type for value in columns.values()]
        values = rendered(rows if types else [() for _ in rows], types)
        return Result([described(*item) for item in columns.items()], values, _warnings(compilation, failures))

    @staticmethod
    def _run(compilation: Compilation, sql: str) -> list[tuple[Any, ...]]:
        try:
            return compilation.cursor.execute(sql, compilation.parameters.of(sql)).fetchall()
        except (duckdb.OutOfRangeException, duckdb.ConversionException) as error:
            raise unsupported(f"a value beyond the range of its type ({str(error).splitlines()[0]})") from error

    def reset(self) -> None:
        """Nothing is kept between queries."""

    def close(self) -> None:
        """Give back what the database was given."""
        self._runtime.close()


def _warnings(compilation: Compilation, failures: dict[int, list[str]]) -> list[str]:
    """Notes, then for each place that failed what was done about it and the exceptions (compute engine's Warnings)."""
    found = list(compilation.notes)
    for site, messages in sorted(failures.items()):
        node, result = compilation.sites[site]
        place = f"Line {node.line}:{node.column}: "
        found.append(
            f"{place}evaluation of [{node.text}] failed, treating result as {result}. Only first 20 failures recorded."
        )
        found += [place + message for message in messages]
    return list(dict.fromkeys(found))
