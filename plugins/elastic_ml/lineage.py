"""What a task read and wrote, for OpenLineage: which is asked for only where its provider is installed.

A dataset is called by where the cluster is and what the index, data stream or alias is called there,
``elasticsearch://host:port`` and ``logs-web``, so that other tools that write there mean the same one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from elastic_ml.exceptions import ElasticMLError


class DataLineage(NamedTuple):
    """Names of indices, data streams and aliases, or patterns of them.

    :param reads: what was read.
    :param writes: what was written.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def lineage_of_spec(spec: Mapping[str, Any]) -> DataLineage | None:
    """Return the lineage of remote work by its specification.

    Knows reindexing (``source`` and ``dest`` at the top), analytics and transforms (in ``body``), and datafeeds.
    """
    body = spec.get("body") if isinstance(spec.get("body"), Mapping) else spec
    source, dest = (body or {}).get("source"), (body or {}).get("dest")
    reads = _names((source or {}).get("index") if isinstance(source, Mapping) else None)
    writes = _names((dest or {}).get("index") if isinstance(dest, Mapping) else None)
    datafeed = spec.get("datafeed")
    if isinstance(datafeed, Mapping):
        reads += _names(datafeed.get("indices") or datafeed.get("indexes"))
    return DataLineage(reads, writes) if reads or writes else None


def lineage_of_query(query: str) -> DataLineage:
    """Return what an ES|QL query reads: its source command, and the indices that it joins."""
    text = re.sub(r"//[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL)
    found: list[str] = []
    if source := re.match(r"\s*(?:FROM|TS)\s+(.+?)\s*(?:\bMETADATA\b|\||$)", text, re.IGNORECASE | re.DOTALL):
        found += source[1].split(",")
    found += re.findall(r"\bLOOKUP\s+JOIN\s+(\S+)", text, re.IGNORECASE)
    return DataLineage(_names([name.strip().strip('"') for name in found]))


def namespace_of(address: str) -> str:
    """Return the namespace of a cluster's datasets by its address, which holds no credentials."""
    parts = urlsplit(address)
    return f"elasticsearch://{parts.netloc or address.removeprefix('cloud_id ')}"


def openlineage_facets(address: str, lineage: DataLineage) -> Any:
    """Return Airflow's ``OperatorLineage`` of it; to be called only by OpenLineage itself."""
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.providers.openlineage.extractors import OperatorLineage

    namespace = namespace_of(address)
    return OperatorLineage(
        inputs=[Dataset(namespace=namespace, name=name) for name in lineage.reads],
        outputs=[Dataset(namespace=namespace, name=name) for name in lineage.writes],
    )


def openlineage_dataset(asset: Any, lineage_context: Any = None) -> Any:
    """Return the OpenLineage dataset of an ``elasticsearch://<connection id>/<name>`` asset.

    Where the connection cannot be read, as outside of a task, its id stands for the cluster.
    """
    from airflow.providers.common.compat.openlineage.facet import Dataset
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

    from elastic_ml.hooks.elastic import ElasticHook

    uri = urlsplit(asset.uri)
    try:
        namespace = namespace_of(ElasticHook(uri.netloc).settings.address)
    except (AirflowException, AirflowRuntimeError, ElasticMLError):
        namespace = f"elasticsearch://{uri.netloc}"
    return Dataset(namespace=namespace, name=uri.path.lstrip("/"))


def _names(value: str | Iterable[str] | None) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else list(value or ())
    return tuple(dict.fromkeys(str(name) for name in names if name))
