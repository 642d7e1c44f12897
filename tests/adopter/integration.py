"""What the cluster team has before anybody adopts anything: a stream that one of Elastic's integrations fills.

Its objects are those that Fleet installs: an index template of priority 200 with component templates `@package` and
`@custom`, a versioned default pipeline that ends by calling the `@custom` pipelines, and the final pipeline that says
when an event arrived.
"""

from typing import Any

THEIRS = {"set": {"tag": "unit", "field": "organization.name", "value": "Northbank"}}
"""What the team has in the `@custom` pipeline themselves."""


def install(client: Any, dataset: str, *, dynamic: bool | str = True, hooks: bool = True) -> None:
    """Template and pipelines of the dataset's integration; `hooks`: whether its pipeline calls `@custom` ones."""
    package = dataset.partition(".")[0]
    arrived = {"set": {"field": "event.ingested", "copy_from": "_ingest.timestamp"}}
    client.ingest.put_pipeline(id=".fleet_final_pipeline-1", processors=[arrived])
    called = ["global@custom", "logs@custom", f"logs-{package}.integration@custom", f"logs-{dataset}@custom"]
    client.ingest.put_pipeline(
        id=f"logs-{dataset}-2.1.0",
        processors=[
            {"set": {"field": "ecs.version", "value": "8.17.0"}},
            *({"pipeline": {"name": name, "ignore_missing_pipeline": True}} for name in called if hooks),
        ],
        on_failure=[{"set": {"field": "event.kind", "value": "pipeline_error"}}],
    )
    client.ingest.put_pipeline(
        id=f"logs-{dataset}@custom", description="Of the cluster team.", version=4, processors=[THEIRS]
    )
    client.cluster.put_component_template(
        name=f"logs-{dataset}@package",
        template={
            "settings": {
                "index.default_pipeline": f"logs-{dataset}-2.1.0",
                "index.final_pipeline": ".fleet_final_pipeline-1",
            },
            "mappings": {"dynamic": dynamic, "date_detection": False, "properties": _properties(dataset)},
        },
    )
    client.indices.put_index_template(
        name=f"logs-{dataset}",
        index_patterns=[f"logs-{dataset}-*"],
        priority=200,
        composed_of=[f"logs-{dataset}@package", f"logs-{dataset}@custom", "ecs@mappings"],
        ignore_missing_component_templates=[f"logs-{dataset}@custom"],
        data_stream={},
    )


def _properties(dataset: str) -> dict[str, Any]:
    """What the package maps itself; everything else is mapped as it arrives."""
    fixed = {"type": "constant_keyword"}
    word = {"type": "keyword", "ignore_above": 1024}
    return {
        "@timestamp": {"type": "date"},
        "data_stream": {"properties": {"type": fixed, "dataset": fixed, "namespace": fixed}},
        "event": {
            "properties": {
                "dataset": {**fixed, "value": dataset},
                "ingested": {"type": "date"},
                **dict.fromkeys(("action", "category", "kind", "outcome", "type"), word),
            }
        },
        "organization": {"properties": {"name": word}},
        "user": {"properties": {"id": word}},
        "ecs": {"properties": {"version": word}},
    }


def agents_fields(dataset: str, namespace: str = "default") -> dict[str, Any]:
    """What Elastic Agent adds to a document before it sends it."""
    return {"data_stream": {"type": "logs", "dataset": dataset, "namespace": namespace}}


def write(client: Any, stream: str, documents: list[dict[str, Any]], ids: list[str] | None = None) -> list[str]:
    """Send documents as Agent does: `create`, ids by the server unless the integration's pipeline makes them."""
    operations: list[dict[str, Any]] = []
    for number, document in enumerate(documents):
        operations += [{"create": {"_id": ids[number]} if ids else {}}, document]
    answer = client.bulk(index=stream, operations=operations, refresh=True)
    failed = [item["create"] for item in answer["items"] if item["create"].get("failure_store") == "used"]
    assert not answer["errors"], [item for item in answer["items"] if "error" in item["create"]][:2]
    assert not failed, failed[:2]
    return [item["create"]["_id"] for item in answer["items"]]
