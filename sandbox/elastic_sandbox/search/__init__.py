"""Search: query DSL, sorting and paging, points in time, scrolls and aggregations, compiled to DuckDB SQL."""

from elastic_sandbox.search.search import Scan, Search

__all__ = ["Scan", "Search"]
