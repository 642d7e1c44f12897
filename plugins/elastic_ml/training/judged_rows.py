"""Which rows of a model's source people have judged: events by their id, user-hours by their key."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from elastic_ml.clients.documents import batches, dig, scan

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.model import Label
    from elastic_ml.training.run import TrainingRun


class JudgedRows(NamedTuple):
    """The keys of judged rows by the class that a verdict makes them, as the pipeline `<model>@label` does.

    By event, `true` is the latest verdict `confirmed`. By user-hour, the hour has the highest verdict of its events.

    :param field: what a row is found by: `event.id` or `user_hour`.
    :param rest: the class of every row that is not listed.
    :param keys: the others' keys by class.
    """

    field: str
    rest: str
    keys: Mapping[str, Sequence[str]]

    def key_of(self, hit: Mapping[str, Any]) -> str:
        """Return the key of a search hit."""
        # Where events arrive without event.id, the document's own id is the event's.
        return str(dig(hit["_source"], self.field) or hit["_id"])

    def queries(self, query: Mapping[str, Any], of_class: str) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the query limited to rows of a class, in batches, and how many keys each batch has."""
        for keys in batches(list(self.keys.get(of_class, ()))):
            found: dict[str, Any] = {"terms": {self.field: keys}}
            if self.field == "event.id":
                found = {"bool": {"should": [found, {"ids": {"values": keys}}], "minimum_should_match": 1}}
            yield {"bool": {"filter": [query, found]}}, len(keys)

    def counts(self, client: "Elasticsearch", index: Sequence[str], query: Mapping[str, Any]) -> dict[str, int]:
        """Return how many rows of the query are of each class, the rest excepted."""
        return {
            name: sum(
                int(client.count(index=index, query=limited)["count"]) for limited, _ in self.queries(query, name)
            )
            for name in self.keys
        }


def judged_rows(client: "Elasticsearch", run: "TrainingRun", label: "Label") -> JudgedRows:
    """Read all verdicts that a label by event or by user-hour goes by; one scan of the project's labels index."""
    labels = run.project.names.labels
    client.indices.refresh(index=labels)
    if label.verdicts == "by_event":
        confirmed = [hit["_id"] for hit in scan(client, labels, {"term": {"verdict": "confirmed"}}, False)]
        return JudgedRows("event.id", "false", {"true": confirmed})
    highest: dict[str, tuple[int, str]] = {}
    for hit in scan(client, labels, {"range": {"rank": {"gte": 1}}}, ["user_hour", "rank", "verdict"]):
        source = hit["_source"]
        # A verdict on an event that is in no stream yet belongs to no hour.
        if key := source.get("user_hour"):
            highest[key] = max(highest.get(key, (0, "none")), (int(source["rank"]), str(source["verdict"])))
    keys: dict[str, list[str]] = {"suspicious": [], "confirmed": []}
    for key, (_, verdict) in highest.items():
        keys.setdefault(verdict, []).append(key)
    return JudgedRows("user_hour", "none", keys)
