"""Rows of ES|QL queries, and whether the one number of a query is on the right side of a threshold."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from elastic_ml.exceptions import InvalidRequestError, PartialFailureError

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

Row = dict[str, Any]
Comparison = Literal["at_least", "at_most", "above", "below", "equal"]

SERVER_LIMIT = 10_000
"""Rows that Elasticsearch returns at most (`esql.query.result_truncation_max_size`)."""
COMPARISONS = {
    "at_least": lambda value, threshold: value >= threshold,
    "at_most": lambda value, threshold: value <= threshold,
    "above": lambda value, threshold: value > threshold,
    "below": lambda value, threshold: value < threshold,
    "equal": lambda value, threshold: value == threshold,
}


def run_query(
    client: "Elasticsearch",
    query: str,
    *,
    limit: int = SERVER_LIMIT,
    parameters: Sequence[Any] | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002 (the API's own word)
) -> list[Row]:
    """Run a query and return one dictionary per row.

    :param limit: rows that are asked for. Without it the server cuts at 1000 and says so only in a header.
    :raises InvalidRequestError: the query is wrong; the server's words have line and column.
    :raises PartialFailureError: the answer covers a part of the data only (a shard or remote cluster was missing).
    """
    given: dict[str, Any] = {"params": list(parameters)} if parameters else {}
    if filter:
        given["filter"] = dict(filter)
    answer = client.esql.query(query=f"{query}\n| LIMIT {limit}", **given)
    return rows_of(answer.body)


def rows_of(answer: Mapping[str, Any]) -> list[Row]:
    """Turn an answer of ``POST /_query`` into dictionaries, one per row.

    :raises PartialFailureError: ``is_partial`` is set.
    """
    if answer.get("is_partial"):
        raise PartialFailureError(
            "The cluster answered the query for a part of the data only.",
            remedy="Look for shards that are not assigned; the task may then be cleared.",
        )
    names = [column["name"] for column in answer["columns"]]
    return [dict(zip(names, values, strict=True)) for values in answer["values"]]


def number_of(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the one number of a query's rows; None where there is no row or it is null.

    :raises InvalidRequestError: there are more rows or columns, or it is no number.
    """
    if not rows:
        return None
    if len(rows) > 1 or len(rows[0]) != 1:
        raise InvalidRequestError(
            f"The query gives {len(rows)} rows of {len(rows[0])} columns; a threshold needs one number.",
            remedy="End it with STATS and one aggregation, without BY.",
        )
    ((name, value),) = rows[0].items()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequestError(f"Column {name} is no number: {value!r}.", remedy="Convert it with TO_DOUBLE.")
    return float(value)


def met(value: float | None, comparison: str, threshold: float) -> bool:
    """Whether a number is on the right side of a threshold; None never is."""
    return value is not None and bool(COMPARISONS[comparison](value, threshold))
