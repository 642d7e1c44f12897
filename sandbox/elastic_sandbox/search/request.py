"""The body and parameters of a search, parsed strictly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from elastic_sandbox.errors import ElasticError, illegal_argument, parsing, unsupported
from elastic_sandbox.http import duration_seconds
from elastic_sandbox.search.query import MatchAll, Query
from elastic_sandbox.search.query_parser import query_of
from elastic_sandbox.search.runtime_fields import RuntimeMappings, texts
from elastic_sandbox.search.sort import SortKey, parse_sort
from elastic_sandbox.search.source import SourceFilter, source_filter_of_request
from elastic_sandbox.search.strict import well_formed
from elastic_sandbox.shapes import token

if TYPE_CHECKING:
    from elastic_sandbox.http import Request

DEFAULT_TRACK = 10_000
MAX_RESULT_WINDOW = 10_000
_MAX_INT = 2**31 - 1

_UNSUPPORTED_KEYS = frozenset({
    "collapse", "docvalue_fields", "explain", "ext", "highlight", "indices_boost", "knn", "min_score",
    "post_filter", "profile", "rank", "rescore", "retriever", "script_fields", "slice", "stats",
    "stored_fields", "suggest", "terminate_after"
})  # fmt: skip
_KEYS = frozenset({
    "_source", "aggregations", "aggs", "fields", "from", "pit", "query", "runtime_mappings", "search_after",
    "seq_no_primary_term",
    "size", "sort", "timeout", "track_scores", "track_total_hits", "version"
})  # fmt: skip
SEARCH_PARAMETERS = (
    "size", "from", "sort", "_source", "_source_includes", "_source_excludes", "track_total_hits", "track_scores",
    "version", "seq_no_primary_term", "allow_no_indices", "ignore_unavailable", "expand_wildcards", "ignore_throttled",
    "preference", "request_cache", "routing", "timeout", "typed_keys", "rest_total_hits_as_int", "batched_reduce_size",
    "max_concurrent_shard_requests", "pre_filter_shard_size", "allow_partial_search_results", "search_type", "scroll",
    "ccs_minimize_roundtrips",
)  # fmt: skip
UNSUPPORTED_PARAMETERS = (
    "q", "analyzer", "analyze_wildcard", "default_operator", "df", "lenient", "docvalue_fields",
    "stored_fields", "explain", "stats", "suggest_field", "suggest_mode", "suggest_size", "suggest_text",
    "terminate_after", "min_score",
    "force_synthetic_source", "typed_keys", "include_named_queries_score",
)  # fmt: skip


@dataclass(frozen=True)
class SearchRequest:
    """A search. ``track_total_hits`` is how far to count: None for all, 0 for not at all."""

    query: Query = field(default_factory=MatchAll)
    size: int = 10
    offset: int = 0
    sort: tuple[SortKey, ...] = ()
    source: SourceFilter = field(default_factory=SourceFilter)
    fields: tuple[Any, ...] = ()
    aggregations: dict[str, Any] = field(default_factory=dict)
    track_total_hits: int | None = DEFAULT_TRACK
    track_scores: bool = False
    search_after: tuple[Any, ...] | None = None
    pit: dict[str, Any] | None = None
    version: bool = False
    seq_no: bool = False
    scroll_seconds: float | None = None
    runtime_mappings: dict[str, Any] = field(default_factory=dict)

    @property
    def runtime(self) -> RuntimeMappings:
        """The runtime fields, and what of them the answer needs."""
        if not self.runtime_mappings:
            return RuntimeMappings()
        sorts = tuple(key.path for key in self.sort)
        return RuntimeMappings(self.runtime_mappings, (*sorts, *texts(list(self.fields)), *texts(self.aggregations)))

    @property
    def scored(self) -> bool:
        """Whether hits carry a score."""
        return not self.sort or self.track_scores or any(key.path == "_score" for key in self.sort)


def parse_search(request: Request) -> SearchRequest:
    """A search request from body and URL; the URL wins, as on the server.

    :raises ElasticError: 400 for what no search may hold, 501 for what the sandbox has not
    """
    request.allow(*SEARCH_PARAMETERS, *UNSUPPORTED_PARAMETERS)
    request.unsupported_parameters(*UNSUPPORTED_PARAMETERS)
    body = request.object(required=False)
    with well_formed("search"):
        search = parse_body(body)
    changes: dict[str, Any] = {}
    if "size" in request.params:
        changes["size"] = request.integer("size", 10)
    if "from" in request.params:
        changes["offset"] = request.integer("from", 0)
    if "sort" in request.params:
        changes["sort"] = tuple(parse_sort(request.params["sort"].split(",")))
    if {"_source", "_source_includes", "_source_excludes"} & set(request.params):
        changes["source"] = source_filter_of_request(request)
    if "track_total_hits" in request.params:
        changes["track_total_hits"] = _track(_json_scalar(request.params["track_total_hits"]))
    for name, attribute in (
        ("version", "version"),
        ("seq_no_primary_term", "seq_no"),
        ("track_scores", "track_scores"),
    ):
        if name in request.params:
            changes[attribute] = request.flag(name)
    if "scroll" in request.params:
        changes["scroll_seconds"] = duration_seconds(request.params["scroll"], "scroll")
    search = replace(search, **changes)
    _check(search)
    return search


def parse_body(body: dict[str, Any]) -> SearchRequest:
    """A search request from its body alone."""
    for key, value in body.items():
        if key in _UNSUPPORTED_KEYS:
            raise unsupported(f"[{key}] of a search")
        if key not in _KEYS:
            raise parsing(f"Unknown key for a {token(value)} in [{key}].")
    aggregations = body.get("aggs", body.get("aggregations")) or {}
    if not isinstance(aggregations, dict):
        raise parsing("Unknown key for a START_ARRAY in [aggs].")
    if not isinstance(body.get("fields", []), list):
        raise parsing("Expected [START_ARRAY] in [fields].")
    runtime = body.get("runtime_mappings", {})
    if not isinstance(runtime, dict):
        raise parsing(f"Unknown key for a {token(runtime)} in [runtime_mappings].")
    after = body.get("search_after")
    if after is not None and not isinstance(after, list):
        raise parsing("Expected [START_ARRAY] in [search_after] but found [VALUE_STRING] inside search_after.")
    return SearchRequest(
        query=query_of(body.get("query")),
        size=_whole(body, "size", 10),
        offset=_whole(body, "from", 0),
        sort=tuple(parse_sort(body.get("sort"))),
        source=SourceFilter.parse(body.get("_source", True)),
        fields=tuple(body.get("fields", ())),
        aggregations=aggregations,
        track_total_hits=_track(body.get("track_total_hits", DEFAULT_TRACK)),
        track_scores=bool(body.get("track_scores", False)),
        search_after=None if after is None else tuple(after),
        pit=body.get("pit"),
        version=bool(body.get("version", False)),
        seq_no=bool(body.get("seq_no_primary_term", False)),
        runtime_mappings=runtime,
    )


def _whole(body: dict[str, Any], key: str, default: int) -> int:
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise parsing(f"Unknown key for a VALUE_NUMBER in [{key}].")
    try:
        return int(value)
    except ValueError:
        raise ElasticError(400, "number_format_exception", f'For input string: "{value}"') from None


def _json_scalar(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


def _track(value: Any) -> int | None:
    if value is True:
        return None
    if value is False:
        return 0
    try:
        limit = int(value)
    except (TypeError, ValueError):
        raise ElasticError(400, "number_format_exception", f'For input string: "{value}"') from None
    if limit < -1:
        raise illegal_argument(f"[track_total_hits] parameter must be positive or equals to -1, got {limit}")
    if limit > _MAX_INT:
        raise ElasticError(400, "number_format_exception", f'For input string: "{value}"')
    return None if limit == -1 else limit


def _check(search: SearchRequest) -> None:
    if search.size < 0:
        raise illegal_argument(f"[size] parameter cannot be negative, found [{search.size}]")
    if search.offset < 0:
        raise illegal_argument(f"[from] parameter cannot be negative but was [{search.offset}]")
    problems = []
    if search.scroll_seconds is not None:
        if search.offset > 0:
            problems.append("using [from] is not allowed in a scroll context")
        if search.size == 0:
            problems.append("[size] cannot be [0] in a scroll context")
        if search.track_total_hits is not None and search.track_total_hits == 0:
            problems.append("disabling [track_total_hits] is not allowed in a scroll context")
        if search.search_after is not None:
            problems.append("`search_after` cannot be used in a scroll context.")
        if search.pit is not None:
            problems.append("using [point in time] is not allowed in a scroll context")
    if search.search_after is not None and search.offset > 0:
        problems.append("`from` parameter must be set to 0 when `search_after` is used.")
    if problems:
        numbered = "".join(f"{number}: {problem};" for number, problem in enumerate(problems, 1))
        raise ElasticError(400, "action_request_validation_exception", f"Validation Failed: {numbered}")
    if search.search_after is not None and not search.sort:
        raise illegal_argument("Sort must contain at least one field.")


def check_window(search: SearchRequest, limit: int) -> None:
    """Refuse pages beyond ``index.max_result_window``."""
    from elastic_sandbox.search.failures import ShardFailure

    end = search.offset + search.size
    if end <= limit:
        return
    if search.scroll_seconds is not None:
        raise ShardFailure(
            "illegal_argument_exception",
            f"Batch size is too large, size must be less than or equal to: [{limit}] but was [{search.size}]. "
            "Scroll batch "
            "sizes cost as much memory as result windows so they are controlled by the [index.max_result_window] "
            "index level "
            "setting.",
        )
    raise ShardFailure(
        "illegal_argument_exception",
        f"Result window is too large, from + size must be less than or equal to: [{limit}] but was [{end}]. See "
        "the scroll "
        "api for a more efficient way to request large data sets. This limit can be set by changing the "
        "[index.max_result_window] index level setting.",
    )
