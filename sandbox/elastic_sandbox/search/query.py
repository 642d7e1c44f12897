"""The query tree: what each query matches, and scores, as SQL over one index.

A query is parsed once per request (query_parser.py) and written as SQL once per index, because a field may be mapped
differently in each, and Elasticsearch's shards see their own mapping too. SQL conditions may be NULL for a document
without the field; only :class:`Bool` negates, and it treats NULL as false.
"""

# Statements are made of names from the schema; every value of a request is a parameter.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elastic_sandbox.errors import unsupported
from elastic_sandbox.search import terms
from elastic_sandbox.search.failures import query_shard
from elastic_sandbox.search.source import wildcard_regex
from elastic_sandbox.search.view import IndexView, Target, is_json

_UNSCORED = "add a sort, or put the query into the filter of a bool query"


@dataclass(frozen=True)
class Query:
    """A node of the tree; ``boost`` multiplies its score."""

    boost: float = field(default=1.0, kw_only=True)

    def sql(self, view: IndexView) -> str:
        """The condition a document must satisfy."""
        raise NotImplementedError

    def score(self, view: IndexView) -> str:
        """The score of a document that matches; most queries score a constant."""
        return repr(float(self.boost))


@dataclass(frozen=True)
class MatchAll(Query):
    """Every document."""

    def sql(self, view: IndexView) -> str:
        """Always true."""
        return "true"


@dataclass(frozen=True)
class MatchNone(Query):
    """No document."""

    def sql(self, view: IndexView) -> str:
        """Always false."""
        return "false"


def _metadata(view: IndexView, path: str, values: list[Any]) -> str | None:
    """Equality on a metadata field; None for an ordinary one."""
    if path == "_id":
        return f"_id IN (SELECT unnest({view.parameters.add([terms.text_of(value) for value in values])}))"
    if path == "_index":
        hit = any(wildcard_regex(terms.text_of(value)).fullmatch(name) for value in values for name in view.names)
        return "true" if hit else "false"
    if path == "_ignored":
        return f"list_has_any(_ignored, {view.parameters.add([terms.text_of(value) for value in values])})"
    if path == "_routing":
        return f"_routing IN (SELECT unnest({view.parameters.add([terms.text_of(value) for value in values])}))"
    if path == "_seq_no":
        return f"_seq_no IN (SELECT unnest({view.parameters.add([int(value) for value in values])}))"
    if path.startswith("_") and path in {"_source", "_version", "_field_names", "_tier", "_doc_count", "_nested_path"}:
        raise unsupported(f"a query on [{path}]")
    return None


def _queried(view: IndexView, path: str) -> Target | None:
    target = view.target(path)
    if target is not None and is_json(target):
        raise unsupported(f"a query on field [{path}] of type [{target.type}]")
    return target


@dataclass(frozen=True)
class Term(Query):
    """One exact value, or token of a text."""

    path: str
    value: Any
    case_insensitive: bool = False

    def sql(self, view: IndexView) -> str:
        """Equality on any value of the field."""
        special = _metadata(view, self.path, [self.value])
        if special is not None:
            return special
        target = _queried(view, self.path)
        if target is None:
            return "false"
        return terms.term(view, target, self.value, case_insensitive=self.case_insensitive)

    def score(self, view: IndexView) -> str:
        """BM25 of a term that occurs once in a field without norms: its inverse document frequency."""
        target = None if self.path.startswith("_") else view.target(self.path)
        if target is None or target.sql is None or target.kind in {"long", "double", "date", "boolean", "ip"}:
            return super().score(view)
        if target.type == "constant_keyword" or self.path in view.runtime:
            return super().score(view)
        if target.kind != "keyword":
            raise unsupported(f"scoring by the text field [{self.path}] ({_UNSCORED})")
        table = view.schema.table
        having = f"(SELECT count(*) FROM {table} WHERE {target.sql} IS NOT NULL)"
        matching = f"(SELECT count(*) FROM {table} WHERE {self.sql(view)})"
        return f"({float(self.boost)!r} * ln(1 + ({having} - {matching} + 0.5) / ({matching} + 0.5)))"


@dataclass(frozen=True)
class Terms(Query):
    """Any of several exact values."""

    path: str
    values: tuple[Any, ...]

    def sql(self, view: IndexView) -> str:
        """Membership of any value of the field."""
        special = _metadata(view, self.path, list(self.values))
        if special is not None:
            return special
        target = _queried(view, self.path)
        return "false" if target is None else terms.terms(view, target, list(self.values))


@dataclass(frozen=True)
class Ids(Query):
    """Documents by ``_id``."""

    values: tuple[str, ...]

    def sql(self, view: IndexView) -> str:
        """Membership of the id."""
        return str(_metadata(view, "_id", list(self.values)))


@dataclass(frozen=True)
class Range(Query):
    """Values between bounds."""

    path: str
    bounds: dict[str, Any]
    format: str | None = None
    time_zone: str | None = None

    def sql(self, view: IndexView) -> str:
        """Comparison of any value of the field."""
        if self.path == "_seq_no":
            target = Target("_seq_no", "long", "long", {}, "_seq_no", False)
            return terms.range_of(view, target, self.bounds, None, None)
        if self.path.startswith("_") and self.path not in view.fields:
            raise unsupported(f"a range query on [{self.path}]")
        target_or_none = _queried(view, self.path)
        if target_or_none is None:
            return "false"
        if target_or_none.kind != "date" and (self.format is not None or self.time_zone is not None):
            what = "DATE_FORMAT" if self.format is not None else "time zone"
            raise query_shard(f"Field [{self.path}] of type [{target_or_none.type}] does not support {what}")
        return terms.range_of(view, target_or_none, self.bounds, self.format, self.time_zone)


@dataclass(frozen=True)
class Exists(Query):
    """Documents with any value in the field, or in any field of the object."""

    path: str

    def sql(self, view: IndexView) -> str:
        """Any of the columns is not null."""
        if self.path in {"_id", "_index", "_seq_no", "_version", "_source"}:
            return "true"
        if self.path in {"_ignored", "_routing"}:
            return f"{self.path} IS NOT NULL"
        below = self.path + "."
        paths = [
            path
            for name in view.expand(self.path)
            for path in ([name] if name in view.fields else [p for p in view.fields if p.startswith(below)])
        ]
        columns = []
        for path in paths:
            target = view.target(path)
            if target is None or target.sql is None:
                continue
            columns.append(f"len({target.sql}) > 0" if target.multi else f"{target.sql} IS NOT NULL")
        return " OR ".join(f"({column})" for column in columns) or "false"


@dataclass(frozen=True)
class Pattern(Query):
    """Prefix and wildcard: values that fit a pattern of ``*`` and ``?``."""

    kind: str
    path: str
    value: str
    case_insensitive: bool = False

    def sql(self, view: IndexView) -> str:
        """A regular expression or ``starts_with`` over any value of the field."""
        if self.path == "_index":
            pattern = self.value + "*" if self.kind == "prefix" else self.value
            return "true" if any(wildcard_regex(pattern).fullmatch(name) for name in view.names) else "false"
        if self.path in {"_id", "_seq_no", "_ignored", "_routing"}:
            raise unsupported(f"a {self.kind} query on [{self.path}]")
        target = _queried(view, self.path)
        if target is None:
            return "false"
        if target.kind not in {"keyword", "text"}:
            raise query_shard(
                f"Can only use {self.kind} queries on keyword, text and wildcard fields - not on [{self.path}] "
                f"which is {'a runtime field ' if self.path in view.runtime else ''}of type [{target.type}]"
            )
        if self.kind == "prefix":
            prefix = view.parameters.add(self.value.lower() if self.case_insensitive else self.value)
            return target.any(lambda v: f"starts_with({f'lower({v})' if self.case_insensitive else v}, {prefix})")
        regex = view.parameters.add(_regex(self.value, self.case_insensitive))
        return target.any(lambda v: f"regexp_full_match({v}, {regex})")


def _regex(pattern: str, case_insensitive: bool) -> str:
    pieces = ["(?is)" if case_insensitive else "(?s)"]
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            at += 1
            letter = pattern[at]
            pieces.append(_literal(letter))
        elif letter == "*":
            pieces.append(".*")
        elif letter == "?":
            pieces.append(".")
        else:
            pieces.append(_literal(letter))
        at += 1
    return "".join(pieces)


def _literal(letter: str) -> str:
    return letter if letter.isalnum() or letter in " _" or ord(letter) > 127 else "\\" + letter


@dataclass(frozen=True)
class Match(Query):
    """Words in a text; the exact value in any other field."""

    path: str
    value: Any
    operator: str = "or"

    def sql(self, view: IndexView) -> str:
        """Token membership for text, a term otherwise."""
        from elastic_sandbox.documents.columns import tokens

        target = None if self.path.startswith("_") else _queried(view, self.path)
        if target is None or target.kind != "text":
            return Term(self.path, self.value).sql(view)
        wanted = list(dict.fromkeys(tokens(terms.text_of(self.value))))
        if not wanted or target.sql is None:
            return "false"
        function = "list_has_all" if self.operator == "and" else "list_has_any"
        return f"{function}({target.sql}, {view.parameters.add(wanted)})"

    def score(self, view: IndexView) -> str:
        """As the term it is; text is not scored."""
        return Term(self.path, self.value, boost=self.boost).score(view)


@dataclass(frozen=True)
class Bool(Query):
    """Clauses that must, must not, or should match."""

    must: tuple[Query, ...] = ()
    filter: tuple[Query, ...] = ()
    should: tuple[Query, ...] = ()
    must_not: tuple[Query, ...] = ()
    minimum_should_match: int | None = None

    def _needed(self) -> int:
        if self.minimum_should_match is not None:
            needed = self.minimum_should_match
            return max(0, len(self.should) + needed if needed < 0 else needed)
        return 0 if self.must or self.filter or not self.should else 1

    def sql(self, view: IndexView) -> str:
        """The clauses joined."""
        parts = [f"({query.sql(view)})" for query in (*self.must, *self.filter)]
        needed = self._needed()
        if needed == 1 and self.should:
            parts.append("(" + " OR ".join(f"({query.sql(view)})" for query in self.should) + ")")
        elif needed > len(self.should):
            parts.append("false")
        elif needed > 1:
            counted = " + ".join(f"coalesce(({query.sql(view)})::INTEGER, 0)" for query in self.should)
            parts.append(f"({counted}) >= {needed}")
        parts += [f"NOT coalesce(({query.sql(view)}), false)" for query in self.must_not]
        return " AND ".join(parts) or "true"

    def score(self, view: IndexView) -> str:
        """The sum over matching must and should clauses; filters add nothing."""
        parts = [query.score(view) for query in self.must]
        parts += [f"CASE WHEN {query.sql(view)} THEN {query.score(view)} ELSE 0 END" for query in self.should]
        if not parts:
            # An empty bool is match_all; of filters or must_not alone it scores 0.
            return "0.0" if self.filter or self.must_not else repr(float(self.boost))
        return f"({float(self.boost)!r} * ({' + '.join(parts)}))"


@dataclass(frozen=True)
class ConstantScore(Query):
    """A filter that scores its boost."""

    filter: Query = field(default_factory=MatchAll)

    def sql(self, view: IndexView) -> str:
        """The filter."""
        return self.filter.sql(view)


@dataclass(frozen=True)
class Nested(Query):
    """Documents one of whose nested objects at ``path`` matches."""

    path: str
    query: Query
    ignore_unmapped: bool = False

    def sql(self, view: IndexView) -> str:
        """A filter over the objects kept as JSON."""
        mapped = view.index.mapping.objects.get(self.path)
        if mapped is None or mapped.type != "nested":
            if self.ignore_unmapped:
                return "false"
            reason = (
                f"[nested] failed to find nested object under path [{self.path}]"
                if mapped is None
                else f"[nested] nested object under path [{self.path}] is not of nested type"
            )
            raise query_shard(
                f"failed to create query: {reason}", {"type": "illegal_state_exception", "reason": reason}
            )
        column = view.nested_column(self.path)
        condition = self.query.sql(view.within(self.path))
        if column is None:
            return "false"
        return f"len(list_filter(CAST({column} AS JSON[]), lambda n: {condition})) > 0"

    def score(self, view: IndexView) -> str:
        """Not computed."""
        raise unsupported(f"scoring by a nested query ({_UNSCORED})")


@dataclass(frozen=True)
class FunctionScore(Query):
    """A query whose score is a random number from a seed."""

    query: Query
    seed: int
    boost_mode: str = "multiply"

    def sql(self, view: IndexView) -> str:
        """The inner query."""
        return self.query.sql(view)

    def score(self, view: IndexView) -> str:
        """24 random bits of the sequence number, as the server takes them; the numbers themselves differ from its."""
        salted = view.parameters.add(f"{self.seed}|{view.index.name}")
        random = f"((hash(_seq_no, {salted}) & 16777215)::DOUBLE / 16777216)"
        if self.boost_mode == "replace":
            return f"({float(self.boost)!r} * {random})"
        return f"({float(self.boost)!r} * ({self.query.score(view)}) * {random})"
