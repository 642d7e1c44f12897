"""Stopping remote work: what cannot be stopped is said, and what is private on Serverless is never sent."""

import logging

from elastic_ml.clients.elasticsearch import connect
from elastic_ml.clients.remote_jobs import TASK, stop
from elastic_ml.clients.settings import ElasticsearchSettings
from elastic_sandbox.testing import serve


def test_a_task_on_serverless_is_left_to_finish_and_nothing_private_is_sent(caplog):
    with (
        serve(flavor="serverless") as sandbox,
        connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client,
        caplog.at_level(logging.WARNING),
    ):
        assert stop(client, TASK, "node:1") is False
        assert [entry.path for entry in sandbox.requests] == ["/"]
    assert "node:1 cannot be stopped on Serverless and is left to finish" in caplog.text


def test_stopping_a_task_that_is_gone_is_fine(sandbox):
    with connect(ElasticsearchSettings(url=sandbox.elasticsearch_url)) as client:
        assert stop(client, TASK, "node:1") is True
