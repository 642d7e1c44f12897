"""A body and the server's echo of it are the same; a changed one is not."""

import pytest

from elastic_ml.project.server_objects import (
    COMPONENT_TEMPLATE,
    ILM_POLICY,
    INDEX,
    INDEX_TEMPLATE,
    Kind,
    differences,
)

# Echoes as the REST tests of Elasticsearch and its API reference show them.
ECHOES: list[tuple[Kind, dict, dict]] = [
    (
        COMPONENT_TEMPLATE,
        {"template": {"settings": {"index.mode": "logsdb", "mapping.ignore_malformed": False, "number_of_shards": 1}}},
        {
            "template": {
                "settings": {
                    "index": {"mode": "logsdb", "mapping": {"ignore_malformed": "false"}, "number_of_shards": "1"}
                }
            },
            "created_date_millis": 1,
            "modified_date_millis": 2,
        },
    ),
    (
        INDEX_TEMPLATE,
        {
            "index_patterns": ["a-*"],
            "data_stream": {},
            "composed_of": [],
            "template": {"lifecycle": {"data_retention": "7d"}},
        },
        {
            "index_patterns": ["a-*"],
            "data_stream": {"hidden": False, "allow_custom_routing": False},
            "composed_of": [],
            "template": {"lifecycle": {"enabled": True, "data_retention": "7d"}},
            "version": 1,
        },
    ),
    (
        ILM_POLICY,
        {"policy": {"phases": {"hot": {"actions": {}}, "delete": {"min_age": "9d", "actions": {"delete": {}}}}}},
        {
            "policy": {
                "phases": {
                    "hot": {"min_age": "0ms", "actions": {}},
                    "delete": {"min_age": "9d", "actions": {"delete": {"delete_searchable_snapshot": True}}},
                },
                "_meta": {"hash": "x"},
            }
        },
    ),
    (
        INDEX,
        {
            "settings": {"index": {"mode": "lookup"}},
            "mappings": {
                "dynamic": False,
                "properties": {"a": {"type": "object", "properties": {"b": {"type": "ip"}}}},
            },
        },
        {"mappings": {"dynamic": "false", "properties": {"a": {"properties": {"b": {"type": "ip"}}}}}},
    ),
]


@pytest.mark.parametrize(("kind", "sent", "echo"), ECHOES, ids=[kind.word for kind, _, _ in ECHOES])
def test_an_echo_equals_what_was_sent(kind: Kind, sent: dict, echo: dict):
    assert differences(kind.canonical(sent), kind.canonical(echo)) == []
    assert kind.hash(sent) == kind.hash(echo)


def test_a_template_that_lost_its_data_stream_differs():
    sent = {"index_patterns": ["a"], "data_stream": {}}
    assert differences(INDEX_TEMPLATE.canonical(sent), INDEX_TEMPLATE.canonical({"index_patterns": ["a"]})) == [
        "data_stream is missing (wanted {})"
    ]


def test_differences_name_path_and_both_values():
    wanted, actual = {"a": "1", "b": "2"}, {"a": "3", "c": "4"}
    assert differences(wanted, actual) == ["a is 3 (wanted 1)", "b is missing (wanted 2)", "c is 4 (not wanted)"]
