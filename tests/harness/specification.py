"""Elastic's API specification and its validator, which lie beside the repository and not in it.

spec = specification()                              # all that is known, or the test is skipped
assert spec.check_request("search", body) == []
api = spec.api_of("POST", "/logs-*/_search")        # Call("search", "/{index}/_search")
old = specification(stack=(9, 2))                   # knows only what 9.2 has
small = specification(serverless=True)              # knows only what Serverless shows to everybody
"""

import contextlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

CONTRACTS = Path(os.environ.get("ELASTIC_CONTRACTS", Path(__file__).parents[3] / "shared" / "contracts"))

ERROR_BODY = {"kind": "instance_of", "type": {"namespace": "_types", "name": "ErrorResponseBase"}}
BULK_ACTION = {"kind": "instance_of", "type": {"namespace": "_global.bulk", "name": "OperationContainer"}}


class Call(NamedTuple):
    """What a request asks for."""

    api: str
    url: str


@cache
def _validator() -> type:
    path = CONTRACTS / "spec_validator.py"
    if not path.exists():
        pytest.skip(f"Elastic's API specification is not in {CONTRACTS} (set ELASTIC_CONTRACTS)")
    found = importlib.util.spec_from_file_location("spec_validator", path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.Spec  # type: ignore[no-any-return]


@cache
def specification(*, stack: tuple[int, int] | None = None, serverless: bool = False) -> Any:
    """The validator; with `stack` or `serverless` it knows nothing that is not offered to everybody there."""

    class Specification(_Urls, _validator()):  # type: ignore[misc]
        pass

    spec = Specification(str(CONTRACTS / "elasticsearch-schema.json"))
    if stack is not None:
        _keep(spec, lambda availability: _in_stack(availability, stack))
    if serverless:
        _keep(spec, _in_serverless)
    return spec


# How the schema says what is offered where: `availability` of an endpoint names the flavors that have it, each with
# `since` and `visibility` (absent: public; private and feature_flag: nobody may count on it). A property, parameter or
# enum member without `availability` is wherever its owner is.


def _in_stack(availability: dict[str, Any], newest: tuple[int, int]) -> bool:
    stack = availability.get("stack")
    if stack is None or stack.get("visibility", "public") != "public":
        return False
    since = tuple(int(number) for number in stack.get("since", "0.0").split("."))
    return since[:2] <= newest


def _in_serverless(availability: dict[str, Any]) -> bool:
    serverless = availability.get("serverless")
    return serverless is not None and serverless.get("visibility", "public") == "public"


def _keep(spec: Any, offered: Any) -> None:
    def kept(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if not item.get("availability") or offered(item["availability"])]

    spec.E = {name: endpoint for name, endpoint in spec.E.items() if offered(endpoint.get("availability", {}))}
    for kind in spec.T.values():
        for part in ("properties", "query", "path", "members"):
            if part in kind:
                kind[part] = kept(kind[part])
        body = kind.get("body")
        if isinstance(body, dict) and "properties" in body:
            body["properties"] = kept(body["properties"])


class _Urls:
    """Adds to the validator what a request line says."""

    E: dict[str, Any]

    @property
    def templates(self) -> list[tuple[re.Pattern[str], str, str, str]]:
        """(pattern, url template, method, API), literal segments before placeholders."""
        found = self.__dict__.get("_templates")
        if found is None:
            rows = [
                (_pattern(url["path"]), url["path"], method, name)
                for name, endpoint in self.E.items()
                for url in endpoint["urls"]
                for method in url["methods"]
            ]
            found = sorted(rows, key=lambda row: [segment.startswith("{") for segment in row[1].split("/")])
            self.__dict__["_templates"] = found
        return found  # type: ignore[no-any-return]

    def api_of(self, method: str, path: str) -> Call | None:
        """The API that a method and an (encoded) path, or a url template, belong to."""
        for pattern, url, its_method, api in self.templates:
            if its_method == method and pattern.fullmatch(path):
                return Call(api, url)
        return None

    def check_request(self, api: str, body: Any) -> list[str]:
        """As the validator's, which takes an absent body for a wrong one even where none is needed."""
        if body is None and not self.E[api].get("requestBodyRequired"):
            return []
        return super().check_request(api, body)  # type: ignore[misc,no-any-return]

    def check_parameters(self, api: str, params: dict[str, str]) -> list[str]:
        """Query parameters that the API does not have, lacks, or has with another type."""
        known = self.query_params(api)  # type: ignore[attr-defined]
        problems = [f"?{name}: no such parameter" for name in params if name not in known]
        problems += [f"?{name}: missing" for name, of in known.items() if of.get("required") and name not in params]
        for name, value in params.items():
            if name in known:
                problems += self._check_text(value, known[name]["type"], f"?{name}")
        return problems

    def _check_text(self, value: str, kind: dict[str, Any], where: str) -> list[str]:
        problems: list[str] = []
        for reading in _readings(value):
            problems = self._v(reading, kind, {}, where)  # type: ignore[attr-defined]
            if not problems:
                return []
        return problems

    def check_error(self, body: Any) -> list[str]:
        """Problems of the body of an error."""
        return self._v(body, ERROR_BODY, {}, "$")  # type: ignore[attr-defined,no-any-return]

    def check_bulk_action(self, line: Any) -> list[str]:
        """Problems of one action line; the schema's type for the whole body lets every object pass."""
        return self._v(line, BULK_ACTION, {}, "$")  # type: ignore[attr-defined,no-any-return]


def _readings(text: str) -> Iterator[Any]:
    """What a parameter's text can stand for."""
    yield text
    if not text:
        yield True  # a bare `?refresh`
    with contextlib.suppress(ValueError):
        yield json.loads(text)
    yield text.split(",")


def _pattern(url: str) -> re.Pattern[str]:
    segments = [segment for segment in url.split("/") if segment]
    # No index is named with a leading underscore, so that `/_bulk` is no index; except `_all`.
    first = [re.sub(r"^\{\w+\}$", r"(?:\\{\\w+\\}|_all|[^_/{][^/]*)", segment) for segment in segments[:1]]
    rest = [re.sub(r"\{\w+\}", r"[^/]+", segment) for segment in segments[1:]]
    return re.compile("/" + "/".join(first + rest))
