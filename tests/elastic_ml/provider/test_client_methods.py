"""Each method of the official client is reached by something that is tested, or left out with a reason."""

import json
from typing import Any, ClassVar
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from contract.client_methods import EXCLUDED, MINIMAL, PAGE, by_what, methods, page
from contract.deviations import unexplained
from elastic_transport import ApiResponseMeta, BaseNode, HttpHeaders
from elastic_transport._node import NodeApiResponse
from elasticsearch import Elasticsearch
from harness.specification import specification

from elastic_ml.operators.api import call


class Recorder(BaseNode):
    """Takes a request down instead of sending it."""

    sent: ClassVar[list[tuple[str, str, Any]]] = []

    def perform_request(self, method: str, target: str, body: bytes | None = None, **_: Any) -> Any:
        self.sent.append((method, target, json.loads(body) if body else None))
        headers = HttpHeaders({"x-elastic-product": "Elasticsearch", "content-type": "application/json"})
        return NodeApiResponse(ApiResponseMeta(200, "1.1", headers, 0.0, self.config), b"{}")


@pytest.fixture
def sent(monkeypatch):
    monkeypatch.setattr(Recorder, "sent", [])
    return Recorder.sent


def test_no_method_is_forgotten():
    forgotten = [api for api in methods() if api not in EXCLUDED and not by_what(api)]
    assert forgotten == [], "reach it, or give arguments or a reason in contract/client_methods.py"


def test_no_method_is_named_that_the_client_does_not_have():
    assert sorted({*EXCLUDED, *MINIMAL} - set(methods())) == []


def test_nothing_that_is_left_out_is_reached_all_the_same():
    assert [api for api in EXCLUDED if by_what(api)] == []


@pytest.mark.parametrize("api", sorted(MINIMAL))
def test_the_request_of_a_method_that_only_the_api_operator_reaches_is_valid(api: str, sent):
    spec = specification()
    with Elasticsearch("http://127.0.0.1:1", node_class=Recorder) as client:
        call(client, api, MINIMAL[api])
    [(method, target, body)] = sent
    url = urlsplit(target)
    assert spec.api_of(method, unquote(url.path)).api == api
    problems = [*spec.check_parameters(api, dict(parse_qsl(url.query, keep_blank_values=True)))]
    problems += [] if api == "ml.post_data" else spec.check_request(api, body)
    assert unexplained({(api, problem): body for problem in problems}) == []


def test_a_wrong_argument_would_be_noticed(sent):
    with Elasticsearch("http://127.0.0.1:1", node_class=Recorder) as client:
        call(client, "ml.estimate_model_memory", {"analysis_config": {"detectors": [{"functoin": "count"}]}})
    assert specification().check_request("ml.estimate_model_memory", sent[0][2]) != []


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "cd tests && PYTHONPATH=. python -m contract.client_methods"
