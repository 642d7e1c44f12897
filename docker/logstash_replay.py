"""Send the golden events through a real Logstash and compare what it writes with what the suite expects.

Runs in the compose service logstash-replay: `make stack-logstash`. Events go to the beats input as Filebeat sends them
(Lumberjack v2 over TLS with a client's certificate) and to the http input; documents are read back from data streams
`logs-*-replay`, whose template keeps them exactly as they were sent. Needs PyYAML, which Airflow's image has.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import ssl
import struct
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from stack import StackError, ask

NAMESPACE = "replay"
# When the suite's events arrive: requests carry no time of their own, so theirs is the moment they are received.
ARRIVAL = "2026-05-28T12:00:00.000Z"
SENT = "2026-05-28T11:59:59.000Z"
TEMPLATE = {
    "index_patterns": [f"logs-*-{NAMESPACE}"],
    "priority": 10_000,
    "data_stream": {},
    "template": {
        "settings": {"index.mode": "standard", "index.number_of_replicas": 0},
        "mappings": {"dynamic": False, "properties": {"@timestamp": {"type": "date"}}},
        "data_stream_options": {"failure_store": {"enabled": False}},
    },
}


class Written(NamedTuple):
    """A document, the stream it is in, and the case it came from where that is known."""

    stream: str
    document: dict[str, Any]
    case: str = ""


class Logstash(NamedTuple):
    """Where Logstash listens."""

    host: str
    beats_port: int
    http_port: int
    user: str
    password: str
    tls: ssl.SSLContext | None


def cases(folder: Path) -> list[dict[str, Any]]:
    """All cases of the golden files."""
    return [case for file in sorted(folder.glob("*.yml")) for case in yaml.safe_load(file.read_text("utf-8"))]


def expected(folder: Path) -> list[Written]:
    """What the suite expects, in the streams of this run."""
    found = []
    for file in sorted(folder.glob("*.expected.ndjson")):
        for line in map(json.loads, file.read_text("utf-8").splitlines()):
            document = line["document"]
            document["data_stream"]["namespace"] = NAMESPACE
            found.append(Written(f"{line['stream'].removesuffix('-default')}-{NAMESPACE}", document, line["case"]))
    return found


def differences(wanted: Iterable[Written], found: Iterable[Written]) -> tuple[list[Written], list[Written]]:
    """What is missing, and what is too many; each document stands for one only."""
    missing, left = [], list(found)
    # Those with a time of their own first: they match nothing but themselves.
    for one in sorted(wanted, key=lambda one: one.document["@timestamp"] == ARRIVAL):
        match = next((other for other in left if _same(one, other)), None)
        if match is None:
            missing.append(one)
        else:
            left.remove(match)
    return missing, left


def _same(wanted: Written, found: Written) -> bool:
    if wanted.stream != found.stream:
        return False
    if wanted.document["@timestamp"] != ARRIVAL:
        return wanted.document == found.document
    # A dead letter's id is a fingerprint over its time, too.
    dead = ".dead_letter-" in wanted.stream
    return _without_arrival(wanted.document, dead) == _without_arrival(found.document, dead)


def _without_arrival(document: Mapping[str, Any], dead: bool) -> dict[str, Any]:
    rest = {name: value for name, value in document.items() if name != "@timestamp"}
    if dead and isinstance(rest.get("event"), dict):
        rest["event"] = {name: value for name, value in rest["event"].items() if name != "id"}
    return rest


def send(logstash: Logstash, case: Mapping[str, Any]) -> None:
    """Send one case's input, as the runner of the suite does.

    :raises StackError: Logstash did not take it.
    """
    if "http" in case:
        request = case["http"]
        body = base64.b64decode(request["base64"]) if "base64" in request else request["body"].encode()
        post(logstash, request["path"], body, request.get("type", "application/x-ndjson"))
        return
    event = case.get("beats") or {
        "message": case["line"] * case.get("repeat", 1),
        "data_stream": {"type": "logs", "dataset": case["dataset"], "namespace": "default"},
    }
    ship(logstash, [{"@timestamp": SENT, **event}])


def post(logstash: Logstash, path: str, body: bytes, content_type: str) -> None:
    """POST to the http input; the path goes out as it is."""
    kind = http.client.HTTPSConnection if logstash.tls else http.client.HTTPConnection
    options: dict[str, Any] = {"context": logstash.tls} if logstash.tls else {}
    connection = kind(logstash.host, logstash.http_port, timeout=30, **options)
    credentials = base64.b64encode(f"{logstash.user}:{logstash.password}".encode()).decode()
    try:
        connection.request("POST", path, body, {"content-type": content_type, "authorization": f"Basic {credentials}"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise StackError(f"Logstash's http input refused {path} with {answer.status}: {answer.read()[:300]!r}")
    finally:
        connection.close()


def ship(logstash: Logstash, events: Sequence[Mapping[str, Any]]) -> None:
    """Send events by Lumberjack v2 and wait until all are acknowledged.

    A window's size, then JSON frames with their numbers; the answer is the number of the last that was taken.
    """
    frames = [b"2W" + struct.pack(">I", len(events))]
    for number, event in enumerate(events, 1):
        payload = json.dumps(event).encode()
        frames.append(b"2J" + struct.pack(">II", number, len(payload)) + payload)
    with socket.create_connection((logstash.host, logstash.beats_port), timeout=30) as plain:
        stream = logstash.tls.wrap_socket(plain, server_hostname=logstash.host) if logstash.tls else plain
        with stream:
            stream.sendall(b"".join(frames))
            taken = 0
            while taken < len(events):  # 0 says: still at work
                answer = _exactly(stream, 6)
                if answer[:2] != b"2A":
                    raise StackError(
                        f"Logstash's beats input answered {answer!r} where Lumberjack has an acknowledgement"
                    )
                (taken,) = struct.unpack(">I", answer[2:])


def _exactly(stream: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = stream.recv(size - len(received))
        if not part:
            raise StackError("Logstash's beats input closed the connection before it acknowledged the events")
        received += part
    return received


class Elasticsearch:
    """The cluster behind Logstash."""

    def __init__(self, url: str, password: str, ca: Path) -> None:
        self._url, self._password, self._ca = url, password, ca

    def prepare(self) -> str:
        """Remove what an earlier run left, put the template; the cluster's version."""
        for stream in self._ask("GET", f"_data_stream/logs-*-{NAMESPACE}")["data_streams"]:
            self._ask("DELETE", f"_data_stream/{stream['name']}")
        self._ask("PUT", f"_index_template/logstash-{NAMESPACE}", TEMPLATE)
        return str(self._ask("GET", "")["version"]["number"])

    def written(self) -> list[Written]:
        """All documents of the streams, with the stream's name."""
        found: list[Written] = []
        for stream in self._ask("GET", f"_data_stream/logs-*-{NAMESPACE}")["data_streams"]:
            self._ask("POST", f"{stream['name']}/_refresh")
            hits = self._ask("POST", f"{stream['name']}/_search", {"size": 1000})["hits"]["hits"]
            found += [Written(stream["name"], hit["_source"]) for hit in hits]
        return found

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        return ask(method, f"{self._url}/{path}", self._password, self._ca, body)


def replay(
    folder: Path, elasticsearch: Elasticsearch, logstash: Logstash, *, patience: float = 120.0, pause: float = 2.0
) -> tuple[list[Written], list[Written]]:
    """Send everything and compare once nothing more arrives; what is missing and what is too many.

    :param patience: seconds to wait for the last document; dead letters are read again only every few seconds
    :param pause: seconds between two looks
    """
    wanted = expected(folder)
    for case in cases(folder):
        send(logstash, case)
    deadline, before = time.monotonic() + patience, -1
    while True:
        found = elasticsearch.written()
        complete = len(found) >= len(wanted) and len(found) == before
        if complete or time.monotonic() > deadline:
            return differences(wanted, found)
        before = len(found)
        time.sleep(pause)


def main() -> int:
    """Replay the folder that is named; 1 when anything differs."""
    folder = Path(sys.argv[1])
    ca = Path("/certs/ca/ca.crt")
    tls = ssl.create_default_context(cafile=str(ca))
    shipper = Path("/certs/shipper")
    tls.load_cert_chain(shipper / "shipper.crt", shipper / "shipper.key", os.environ["TLS_KEY_PASSPHRASE"])
    logstash = Logstash(os.environ["LOGSTASH"], 5044, 8080, os.environ["HTTP_USER"], os.environ["HTTP_PASSWORD"], tls)
    try:
        elasticsearch = Elasticsearch(os.environ["ELASTICSEARCH"], os.environ["ELASTIC_PASSWORD"], ca)
        version = elasticsearch.prepare()
        missing, surplus = replay(folder, elasticsearch, logstash)
    except (StackError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for sign, documents in (("-", missing), ("+", surplus)):
        for one in documents:
            shown = json.dumps(one.document, ensure_ascii=False, sort_keys=True)[:2000]
            sys.stdout.write(f"{sign} {one.case or one.stream}: {shown}\n")
    if missing or surplus:
        sys.stdout.write(f"Logstash {version}: {len(missing)} documents are missing (-), {len(surplus)} too many (+)\n")
        return 1
    sys.stdout.write(f"Logstash {version} writes what the suite expects\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
