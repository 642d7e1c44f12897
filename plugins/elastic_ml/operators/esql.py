"""ES|QL as tasks: read rows, and check them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from elastic_ml.clients.esql import SERVER_LIMIT, Row, run_query
from elastic_ml.exceptions import GateError, InvalidRequestError
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields

if TYPE_CHECKING:
    from elastic_ml.lineage import DataLineage

MAX_ROWS = 1000
"""Rows that a task returns at most: they become an XCom, which lies in Airflow's database."""


class EsqlQueryOperator(ElasticBaseOperator):
    """Run an ES|QL query and return its rows.

    ::

        EsqlQueryOperator(
            task_id="errors_by_model",
            query="FROM logs-ml.predictions-* | WHERE status == ?status | STATS errors = COUNT(*) BY model_name",
            parameters=[{"status": "error"}],
        )

    :param query: the query (templated). Values belong into `parameters`, where no quoting is needed.
    :param parameters: positional values, or one ``{name: value}`` per named parameter (templated).
    :param filter: Query DSL that the source is filtered with before the query sees it (templated).
    :param max_rows: more rows than this are an error rather than a full database.
    :return: one dictionary per row; columns without a name clash keep theirs.
    :raises InvalidRequestError: the query is wrong (the server says line and column), or gives too many rows.
    :raises PartialFailureError: the cluster could answer for a part of the data only.
    """

    template_fields: Sequence[str] = sorted_fields("query", "parameters", "filter")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json", "filter": "json", "query": "sql"}

    def __init__(
        self,
        *,
        query: str,
        parameters: Sequence[Any] | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (the API's own word)
        max_rows: int = MAX_ROWS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < max_rows < SERVER_LIMIT:
            raise ValueError(f"max_rows is {max_rows}: write a number between 1 and {SERVER_LIMIT - 1}")
        self.query = query
        self.parameters = parameters
        self.filter = filter
        self.max_rows = max_rows

    def execute(self, context: Any) -> Any:
        """Run the query."""
        rows = self._rows()
        self.log.info("%d rows", len(rows))
        return rows

    def lineage(self) -> "DataLineage":
        """Return what the query reads."""
        from elastic_ml.lineage import lineage_of_query

        return lineage_of_query(self.query)

    def _rows(self) -> list[Row]:
        rows = run_query(
            self.client, self.query, limit=self.max_rows + 1, parameters=self.parameters, filter=self.filter
        )
        if len(rows) > self.max_rows:
            raise InvalidRequestError(
                f"The query of task {self.task_id} gives more than {self.max_rows} rows for one XCom.",
                remedy="Aggregate with STATS, end it with | LIMIT, or raise max_rows.",
            )
        return rows


class EsqlCheckOperator(EsqlQueryOperator):
    """Fail unless the rows of an ES|QL query are as they should be.

    ::

        EsqlCheckOperator(
            task_id="no_event_without_a_person",
            query="FROM logs-*.audit-* | WHERE user.id IS NULL | STATS n = COUNT(*) | WHERE n > 0",
            expect="no_rows",
        )

    :param expect: ``no_rows``: every row is a complaint and is shown in the error. ``true``: there is at least one row,
        and no cell of any row is false, null, 0 or an empty text.
    :param query: see :class:`EsqlQueryOperator`, as all other parameters.
    :return: the rows.
    :raises GateError: the check failed; the message shows the first rows. Another try would give the same: it is not
        retried.
    """

    def __init__(self, *, expect: Literal["no_rows", "true"] = "true", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if expect not in {"no_rows", "true"}:
            raise ValueError(f"expect is {expect!r}: write no_rows or true")
        self.expect = expect

    def execute(self, context: Any) -> list[Row]:
        """Run the query and judge its rows."""
        rows = self._rows()
        wrong = rows if self.expect == "no_rows" else [row for row in rows if not all(row.values())]
        if wrong or (self.expect == "true" and not rows):
            shown = "; ".join(_words(row) for row in wrong[:5]) or "no row at all"
            more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise GateError(
                f"Check {self.task_id} failed: {shown}{more}.",
                remedy="Correct the data that the query names, then clear this task.",
            )
        self.log.info("Check passed: %d rows", len(rows))
        return rows


def _words(row: Row) -> str:
    return ", ".join(f"{name} = {value!r}" for name, value in row.items())
