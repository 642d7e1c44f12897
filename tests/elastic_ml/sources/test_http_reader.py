"""The `http` reader against a local API: PingOne's shape, tokens, patience, and credentials that go nowhere else."""

from __future__ import annotations

import itertools
import json
import logging
import re
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from elastic_ml.exceptions import ConnectionSettingsError, ElasticMLError, IngestError, SecurityError, UnavailableError
from elastic_ml.project.source import Source
from elastic_ml.sources.adapters import adapt
from elastic_ml.sources.partition import Partition
from elastic_ml.sources.readers import http_client, read
from elastic_ml.sources.records import Raw
from tests.elastic_ml.sources.api_server import Answer, Api, Asked, serve

DAY = Partition.parse("2026-11-10")
SECRET = "s3cret-of-the-client"
ENVIRONMENT = "5f0c9f2e-1d4c-4c39-9a3f-0a6a1c7b1e01"


def activity(number: int) -> dict[str, Any]:
    return {
        "id": f"act-{number}",
        "recordedAt": (datetime(2026, 11, 10, tzinfo=UTC) + timedelta(minutes=number)).isoformat(
            timespec="milliseconds"
        ),
        "action": {"type": "USER.ACCESS_ALLOWED"},
        "result": {"status": "SUCCESS"},
    }


class PingOne:
    """PingOne's audit API, as documented: a filter, pages by cursor, a token of its own."""

    def __init__(self, activities: int = 5, page: int = 2) -> None:
        self.activities = [activity(number) for number in range(activities)]
        self.page = page
        self.token = "tok-1"
        self.tokens = itertools.count(1)
        self.expires_in = 3600
        self.base = ""
        self.before: Callable[[Asked], Answer | None] = lambda asked: None

    def __call__(self, asked: Asked) -> Answer:
        if (early := self.before(asked)) is not None:
            return early
        if asked.path == "/as/token":
            self.token = f"tok-{next(self.tokens)}"
            return Answer({"access_token": self.token, "expires_in": self.expires_in, "token_type": "Bearer"})
        if asked.authorization != f"Bearer {self.token}":
            return Answer({"code": "INVALID_TOKEN", "message": "expired"}, 401)
        start = int(asked.params.get("cursor", "0"))
        bounds = re.fullmatch(
            r'recordedAt gt "([^"]+)" AND recordedAt lt "([^"]+)"', asked.params.get("filter") or self.filter
        )
        assert bounds, asked.params
        self.filter = bounds[0]
        after, before = (datetime.fromisoformat(text) for text in bounds.groups())
        found = [a for a in self.activities if after < datetime.fromisoformat(a["recordedAt"]) < before]
        links = {"self": {"href": f"{self.base}{asked.path}"}}
        if start + self.page < len(found):
            links["next"] = {"href": f"{self.base}{asked.path}?cursor={start + self.page}"}
        items = found[start : start + self.page]
        return Answer({"_links": links, "_embedded": {"activities": items}, "size": len(items)})


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Api]]:
    """Serve an API and make it the Airflow connection `api`."""
    with ExitStack() as stack:

        def begin(answer: Callable[[Asked], Answer], **connection: Any) -> Api:
            api = stack.enter_context(serve(answer))
            if isinstance(answer, PingOne):
                answer.base = api.url
                connection = {
                    "login": "client",
                    "password": SECRET,
                    "extra": {"token_url": f"{api.url}/as/token", "environment_id": ENVIRONMENT},
                } | connection
            written = {"conn_type": "http", "host": api.url, **connection}
            monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps(written))
            return api

        yield begin


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits are noted instead of waited for."""
    seconds: list[float] = []
    original = http_client.ApiClient.__init__
    monkeypatch.setattr(
        http_client.ApiClient, "__init__", lambda self, settings: original(self, settings, sleep=seconds.append)
    )
    return seconds


def source(**changes: Any) -> Source:
    options = {"api": "ping_one", **changes.pop("options", {})}
    return Source.model_validate(
        {
            "name": "ping",
            "stream": "logs-ping_one.audit-test",
            "start_date": date(2026, 1, 1),
            "reader": {
                "kind": "http",
                "conn_id": "api",
                "path": "/v1/environments/{environment_id}/activities",
                **changes.pop("reader", {}),
                "options": options,
            },
            "adapter": "ping_one",
            **changes,
        }
    )


def generic(**options: Any) -> Source:
    options = {"api": "json", "params": {"from": "{start}", "to": "{end}"}, "items": "data", "next": "next", **options}
    return source(reader={"path": "/events"}, options=options, adapter="ndjson")


def ids(raws: list[Raw]) -> list[str]:
    return [json.loads(raw.data)["id"] for raw in raws]


def test_all_pages_of_a_partition_are_read_along_their_links(start):
    api = start(PingOne(activities=5, page=2))
    raws = list(read(source(), DAY))
    assert ids(raws) == [f"act-{n}" for n in range(5)]
    assert [raw.position for raw in raws[1:3]] == [
        "2026-11-10T00:00:00.000Z page 1 item 2",
        "2026-11-10T00:00:00.000Z page 2 item 1",
    ]
    assert [raw.first for raw in raws] == [True, False, False, False, False]
    assert {asked.path for asked in api.pages} == {f"/v1/environments/{ENVIRONMENT}/activities"}
    assert api.pages[0].params["limit"] == "500"


def test_activities_from_the_api_become_documents(start):
    start(PingOne(activities=3))
    documents = list(adapt(source(), read(source(), DAY)))
    assert [d["event"]["id"] for d in documents] == ["act-0", "act-1", "act-2"]
    assert documents[0]["@timestamp"] == "2026-11-10T00:00:00.000Z"


def test_the_first_millisecond_is_in_the_partition_and_the_end_is_not(start):
    pingone = PingOne(activities=0)
    pingone.activities = [activity(0), activity(1440), activity(1439)]
    start(pingone)
    assert ids(list(read(source(), DAY))) == ["act-0", "act-1439"]


def test_an_hour_is_asked_for_as_an_hour(start):
    api = start(PingOne(activities=200, page=500))
    assert ids(list(read(source(partition="hour"), Partition.parse("2026-11-10T02")))) == [
        f"act-{n}" for n in range(120, 180)
    ]
    assert api.pages[0].params["filter"] == (
        'recordedAt gt "2026-11-10T01:59:59.999Z" AND recordedAt lt "2026-11-10T03:00:00.000Z"'
    )


def test_windows_cut_the_partition_without_losing_or_repeating_anything(start):
    api = start(PingOne(activities=1440, page=100))
    raws = list(read(source(options={"window": "5h"}), DAY))
    assert ids(raws) == [f"act-{n}" for n in range(1440)]
    assert len({asked.params["filter"] for asked in api.pages if "filter" in asked.params}) == 5


def test_a_window_that_is_too_much_for_the_api_is_halved_until_it_is_not(start, slept):
    pingone = PingOne(activities=1440, page=1440)

    def slow(asked: Asked) -> Answer | None:
        if "filter" not in asked.params:
            return None
        after, before = (datetime.fromisoformat(text) for text in re.findall(r'"([^"]+)"', asked.params["filter"]))
        return Answer({"message": "timeout"}, 504) if before - after > timedelta(hours=7) else None

    pingone.before = slow
    start(pingone)
    assert ids(list(read(source(), DAY))) == [f"act-{n}" for n in range(1440)]


def test_a_token_is_fetched_once_and_sent_as_bearer(start):
    api = start(PingOne(activities=5, page=1))
    list(read(source(), DAY))
    tokens = [asked for asked in api.asked if asked.path == "/as/token"]
    assert len(tokens) == 1
    assert tokens[0].form == {"grant_type": "client_credentials"}
    assert tokens[0].authorization == "Basic Y2xpZW50OnMzY3JldC1vZi10aGUtY2xpZW50"


def test_the_client_can_say_who_it_is_in_the_form(start):
    api = start(PingOne(), extra={})
    with pytest.MonkeyPatch.context() as patch:
        extra = {"token_url": f"{api.url}/as/token", "token_auth": "post", "scope": "audit", "environment_id": "e"}
        connection = {"conn_type": "http", "host": api.url, "login": "client", "password": SECRET, "extra": extra}
        patch.setenv("AIRFLOW_CONN_API", json.dumps(connection))
        list(read(source(), DAY))
    assert api.asked[0].form == {
        "grant_type": "client_credentials", "scope": "audit", "client_id": "client", "client_secret": SECRET,
    }  # fmt: skip
    assert api.asked[0].authorization is None


def test_a_token_that_the_api_no_longer_takes_is_renewed_in_the_middle_of_the_pages(start):
    pingone = PingOne(activities=6, page=2)
    start(pingone)
    raws = read(source(), DAY)
    first = [next(raws), next(raws)]
    pingone.token = "revoked"
    assert ids(first + list(raws)) == [f"act-{n}" for n in range(6)]


def test_a_token_is_renewed_before_it_expires(start, monkeypatch):
    pingone = PingOne(activities=3, page=1)
    api = start(pingone)
    now = time.monotonic()
    clock = itertools.count(now, 600.0)
    # Its own name for the module only: with another clock for all, whoever else waits here would wait for weeks.
    monkeypatch.setattr(http_client, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    list(read(source(), DAY))
    assert len([asked for asked in api.asked if asked.path == "/as/token"]) > 1
    assert all(asked.authorization for asked in api.pages)


def test_a_token_that_is_refused_when_fresh_is_an_error_of_the_credentials(start):
    pingone = PingOne()
    pingone.before = lambda asked: None if asked.path == "/as/token" else Answer({"code": "ACCESS_FAILED"}, 401)
    api = start(pingone)
    with pytest.raises(SecurityError, match=r"answered 401 ACCESS_FAILED\. Check the credentials"):
        list(read(source(), DAY))
    assert len(api.pages) == 2


def test_a_client_that_the_token_endpoint_refuses_is_an_error_of_the_credentials(start):
    pingone = PingOne()
    pingone.before = lambda asked: Answer({"error": "invalid_client", "error_description": f"bad {SECRET}"}, 401)
    start(pingone)
    with pytest.raises(SecurityError, match=r"refused the client: 401 invalid_client: bad \*\*\*") as caught:
        list(read(source(), DAY))
    assert SECRET not in str(caught.value)


def sometimes(pingone: PingOne, *answers: Answer) -> None:
    """Give these answers first, to requests for pages."""
    waiting = list(answers)
    pingone.before = lambda asked: waiting.pop(0) if waiting and asked.path != "/as/token" else None


def test_the_api_is_given_the_time_that_it_asks_for(start, slept):
    pingone = PingOne(activities=3, page=2)
    sometimes(
        pingone,
        Answer({}, 429, {"Retry-After": "7"}),
        Answer({}, 503, {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT"}),
    )
    start(pingone)
    assert len(list(read(source(), DAY))) == 3
    assert slept == [7.0], "a date that is past is no wait"


@pytest.mark.parametrize(
    "written", ["soon", "", "Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +9999999999"]
)
def test_a_time_to_wait_that_nobody_can_read_is_none(written):
    assert http_client._retry_after({"Retry-After": written}) is None


def test_a_used_up_rate_limit_is_waited_for_before_the_next_page(start, slept):
    pingone = PingOne(activities=2, page=1)
    inner = pingone.__call__

    def limited(asked: Asked) -> Answer:
        answer = inner(asked)
        if asked.path != "/as/token" and "cursor" not in asked.params:
            answer.headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "30"}
        return answer

    api = start(pingone)
    api.answer = limited
    assert len(list(read(source(), DAY))) == 2
    assert [round(seconds) for seconds in slept] == [30]


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "12"}, 12),
    ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "12"}, 0),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "soon"}, 0),
    ({"RateLimit-Remaining": "0", "RateLimit-Reset": "5"}, 5),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{at}"}, 3600),
    ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "{at}000"}, 3600),
])  # fmt: skip
def test_a_reset_is_seconds_or_a_time(headers, seconds):
    at = int(time.time()) + 3600  # not when the tests were collected, which was minutes ago
    headers = {name: value.format(at=at) for name, value in headers.items()}
    assert http_client._rate_limit_pause(headers) == pytest.approx(seconds, abs=30)


def test_a_wait_that_is_too_long_is_left_to_the_next_try(start):
    pingone = PingOne()
    sometimes(pingone, Answer({}, 429, {"Retry-After": "86400"}))
    start(pingone)
    with pytest.raises(UnavailableError, match="asks to wait 86400 s"):
        list(read(source(), DAY))


WHOLE = json.dumps({"_embedded": {"activities": [activity(0)]}, "_links": {}}).encode()


@pytest.mark.parametrize("broken", [
    Answer({}, 500), Answer({}, 502), Answer({}, 408), Answer(b"<html>", 200), Answer(WHOLE[:-20], 200),
    Answer(WHOLE, 200, cut=40), Answer(b"", 200),
], ids=["500", "502", "408", "no JSON", "truncated JSON", "connection cut", "empty"])  # fmt: skip
def test_an_answer_that_cannot_be_used_is_asked_for_again(start, slept, broken):
    pingone = PingOne(activities=3, page=2)
    sometimes(pingone, broken, broken)
    start(pingone)
    assert ids(list(read(source(), DAY))) == ["act-0", "act-1", "act-2"]
    assert len(slept) == 2
    assert slept[0] <= 1.0 < slept[1] * 2, "the second wait is longer"


def test_an_api_that_never_recovers_is_unavailable_and_what_was_read_is_kept(start, slept):
    pingone = PingOne(activities=4, page=2)
    pingone.before = lambda asked: Answer(WHOLE[:-9]) if "cursor" in asked.params else None
    start(pingone)
    raws = read(source(), DAY)
    assert ids([next(raws), next(raws)]) == ["act-0", "act-1"]
    with pytest.raises(
        UnavailableError, match=r"no usable answer in 8 tries \(the last: 200 with \d+ bytes that are no"
    ):
        next(raws)
    assert len(slept) == 7


def test_an_api_that_is_down_is_unavailable(start):
    api = start(PingOne())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_API", json.dumps({"conn_type": "http", "host": "http://127.0.0.1:9", "extra": {}}))
        with pytest.raises(
            UnavailableError, match=r"http://127\.0\.0\.1:9/events gave no usable answer .*ConnectionError"
        ):
            list(read(generic(), DAY))
    assert not api.asked


@pytest.mark.parametrize("host", ["http://169.254.169.254", "http://localhost:1", "https://127.0.0.1"])
def test_a_link_to_another_host_is_refused_and_no_token_goes_there(start, host):
    pingone = PingOne()
    sometimes(pingone, Answer({"_embedded": {"activities": []}, "_links": {"next": {"href": f"{host}/x?cursor=1"}}}))
    api = start(pingone)
    with pytest.raises(IngestError, match=r"links to .*, which is not the host of the connection api"):
        list(read(source(), DAY))
    assert len(api.pages) == 1


def test_a_link_that_carries_a_user_is_refused(start):
    pingone = PingOne()
    api = start(pingone)
    href = api.url.replace("http://", "http://user:pass@") + "/x"
    sometimes(pingone, Answer({"_embedded": {"activities": []}, "_links": {"next": {"href": href}}}))
    with pytest.raises(IngestError, match="is not the host"):
        list(read(source(), DAY))


def test_redirects_are_not_followed_with_credentials(start):
    pingone = PingOne()
    sometimes(pingone, Answer({}, 302, {"Location": "https://elsewhere.example/login?next=1"}))
    api = start(pingone)
    with pytest.raises(IngestError, match=r"302 \(a redirect to https://elsewhere\.example\)"):
        list(read(source(), DAY))
    assert len(api.pages) == 1


def test_a_relative_link_is_on_the_same_host(start):
    pages = {
        "/events": {"data": [{"id": 1}], "next": "/events2?c=x"},
        "/events2": {"data": [{"id": 2}], "next": None},
    }
    start(lambda asked: Answer(pages[asked.path]))
    assert ids(list(read(generic(), DAY))) == [1, 2]


def test_pages_that_link_in_a_circle_end_in_an_error(start):
    pages = {
        "/events": {"data": [{"id": 1}], "next": "/b"},
        "/b": {"data": [{"id": 2}], "next": "/c"},
        "/c": {"data": [{"id": 3}], "next": "/b"},
    }
    api = start(lambda asked: Answer(pages[asked.path]))
    with pytest.raises(IngestError, match=r"go in circles: page 3 .* links to a page that was read already"):
        list(read(generic(), DAY))
    assert len(api.asked) == 3


def test_a_cursor_that_never_moves_ends_in_an_error(start):
    numbers = itertools.count()
    start(lambda asked: Answer({"data": [{"id": 1}], "next": f"/events?c={next(numbers)}"}))
    with pytest.raises(IngestError, match=r"go in circles: page 3 .* repeats the pages before it"):
        list(read(generic(), DAY))


def test_a_json_api_is_described_by_items_next_and_params(start):
    api = start(lambda asked: Answer({"result": {"rows": [{"id": 1}, "odd"]}}), password="static-token")
    asked_for = {"since": "{start_ms}", "until": "{end_s}", "q": "after {after} on", "size": 50}
    raws = list(read(generic(items="result.rows", params=asked_for), DAY))
    assert [(raw.data, raw.record) for raw in raws] == [(b'{"id":1}', {"id": 1}), (b'"odd"', None)]
    assert api.asked[0].params == {
        "since": "1794268800000", "until": "1794355200", "q": "after 2026-11-09T23:59:59.999Z on", "size": "50",
    }  # fmt: skip
    assert api.asked[0].authorization == "Bearer static-token"


def test_a_page_may_be_the_list_itself_and_basic_authentication_works(start):
    api = start(lambda asked: Answer([{"id": 1}]), login="ana", password="p")
    assert ids(list(read(generic(items=None, next=None), DAY))) == [1]
    assert api.asked[0].authorization == "Basic YW5hOnA="


def test_an_entry_of_netrc_never_replaces_the_credentials(start, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    api = start(lambda asked: Answer([]), password="static-token")
    list(read(generic(items=None), DAY))
    assert api.asked[0].authorization == "Bearer static-token"


def test_an_item_that_is_no_object_is_rejected_and_its_neighbours_are_not(start):
    pingone = PingOne(activities=2, page=10)
    page = {"_embedded": {"activities": [activity(1), 7, None, {"id": "x"}, activity(2)]}, "_links": {}}
    sometimes(pingone, Answer(page))
    start(pingone)
    items = list(adapt(source(), read(source(), DAY)))
    assert [type(item).__name__ for item in items] == ["dict", "Rejected", "Rejected", "Rejected", "dict"]
    assert items[1].position == "2026-11-10T00:00:00.000Z page 1 item 2"


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"error": "x"}, "has no list of records at 'data' (an object with error)"),
        ({"data": {"a": 1}}, "has no list of records at 'data'"),
        ({"data": [], "next": 5}, "has a int at 'next' instead of a link"),
        ([], "has no list of records at 'data' (a list)"),
    ],
)
def test_a_page_of_another_shape_is_a_sentence(start, page, sentence):
    start(lambda asked: Answer(page))
    with pytest.raises(IngestError, match=re.escape(sentence)):
        list(read(generic(), DAY))


def test_a_request_that_the_api_refuses_is_not_repeated(start, slept):
    pingone = PingOne()
    sometimes(pingone, Answer({"code": "INVALID_FILTER", "message": "no such attribute"}, 400))
    api = start(pingone)
    with pytest.raises(IngestError, match=r"answered 400 INVALID_FILTER: no such attribute\. Correct `path`"):
        list(read(source(), DAY))
    assert (len(api.pages), slept) == (1, [])


def test_a_page_that_is_too_long_says_what_to_do(start, monkeypatch):
    monkeypatch.setattr(http_client, "LONGEST_PAGE", 1000)
    start(PingOne(activities=50, page=50))
    with pytest.raises(IngestError, match="Ask for fewer records per page"):
        list(read(source(), DAY))


def test_no_secret_is_in_logs_errors_or_addresses(start, caplog):
    pingone = PingOne()
    echo = f"token tok-1 of {SECRET} is bad"
    pingone.before = lambda asked: None if asked.path == "/as/token" else Answer({"message": echo}, 500)
    api = start(pingone)
    with caplog.at_level(logging.DEBUG), pytest.raises(ElasticMLError) as caught:
        list(read(source(), DAY))
    chain: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        chain.append(repr(error) + str(error))
        error = error.__cause__ or error.__context__
    everything = "\n".join([*chain, caplog.text, *(f"{asked.path}{asked.params}" for asked in api.asked)])
    assert SECRET not in everything
    assert "tok-1" not in everything
    assert "token *** of *** is bad" in everything


@pytest.mark.parametrize(
    ("connection", "sentence"),
    [
        ({"extra": {"token": "x"}}, "has the unknown extra token"),
        ({"extra": {"request_timeout": "5"}}, "request_timeout of the connection api is str"),
        ({"login": "a", "password": "b", "host": "http://api.example.com"}, "a password and the unencrypted host"),
        ({"host": "https://u:p@api.example.com"}, "a user or password inside its host"),
        ({"host": ""}, "no usable URL as host"),
        ({"host": "https://a.example.com", "login": "x"}, "a login and no password"),
        (
            {"host": "https://a.example.com", "extra": {"token_url": "https://b.example.com/t"}},
            "a token_url and not both",
        ),
        ({"host": "https://a.example.com", "password": "a b"}, "a password that is no token"),
        (
            {"host": "https://a.example.com", "extra": {"token_auth": "jwt"}},
            "has the extra token_auth 'jwt'. Write basic or post.",
        ),
    ],
)
def test_a_connection_that_cannot_work_is_named_before_anything_is_sent(monkeypatch, connection, sentence):
    written = {"conn_type": "http", "host": "https://api.example.com", **connection}
    monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps(written))
    with pytest.raises(ConnectionSettingsError, match=re.escape(sentence)):
        list(read(generic(), DAY))


def test_a_connection_without_the_environment_that_the_path_names_is_an_error(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_API", json.dumps({"conn_type": "http", "host": "https://api.example.com"}))
    with pytest.raises(ConnectionSettingsError, match=r"has no such extra\. Add the extra environment_id"):
        list(read(source(), DAY))


def test_a_connection_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.delenv("AIRFLOW_CONN_API", raising=False)
    with pytest.raises(ConnectionSettingsError, match="the Airflow connection api, which does not exist"):
        list(read(source(), DAY))


def test_memory_is_that_of_a_page_however_many_there_are(start):
    filler = "x" * 1000
    pages = 60

    def answer(asked: Asked) -> Answer:
        number = int(asked.params.get("c", "0"))
        data = [{"id": f"{number}-{place}", "filler": filler} for place in range(200)]
        return Answer({"data": data, "next": f"/events?c={number + 1}" if number + 1 < pages else None})

    start(answer)
    raws = read(generic(), DAY)
    next(raws)
    tracemalloc.start()
    count = sum(1 for _ in raws)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == pages * 200 - 1
    assert peak < 4 * 1024 * 1024, "a page is 0.2 MB, all of them 12"
