"""What `make` and the demo say when something is wrong with the machine or the cluster: a sentence and a remedy."""

from __future__ import annotations

import http.server
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import __main__ as tour
from demo.cluster import Cluster, named_cluster, refuse_without_ml
from demo.days import choose_days
from demo.sessions import Sessions, TourError
from elastic_sandbox.testing import Sandbox, serve

ROOT = Path(__file__).parents[2]
KEY = "aWQ6a2V5"


# make ------------------------------------------------------------------------------------------------------------


def make(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the project's Makefile in an empty folder; its exit code and all it said."""
    shutil.copy(ROOT / "Makefile", folder)
    command = ["make", "sandbox", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def python_that(folder: Path, name: str, first: str) -> str:
    """A `python` that runs `first` before every `-c`, to stand for an interpreter that this machine does not have."""
    program = folder / name
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        f'if [ "$1" = -c ]; then exec {sys.executable} -c "import sys; {first}; exec(sys.argv[1])" "$2"; fi\n'
        f'if [ "$3" = install ]; then echo "no route to the index" >&2; exit 1; fi\n'
    )
    program.chmod(0o755)
    return str(program)


def test_a_python_too_old_is_named_with_the_one_that_is_needed(tmp_path: Path) -> None:
    old = python_that(tmp_path, "python-old", "sys.version_info = (3, 9, 1)")
    code, said = make(tmp_path, f"PYTHON={old}")
    assert code == 2
    assert f"Python 3.11 or newer is needed, {old} is 3.9: make PYTHON=python3.11 ..." in said
    assert not (tmp_path / ".venv").exists()


def test_a_python_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, said = make(tmp_path, "PYTHON=python-nowhere")
    assert code == 2
    assert "python-nowhere was not found: install Python 3.11 or newer" in said


def test_a_python_without_venv_names_the_package_to_install(tmp_path: Path) -> None:
    bare = python_that(tmp_path, "python-bare", "sys.modules['ensurepip'] = None")
    code, said = make(tmp_path, f"PYTHON={bare}")
    assert code == 2
    assert "has no venv module: on Debian and Ubuntu, apt-get install python3-venv" in said
    assert "Traceback" not in said


def test_a_virtual_environment_of_an_old_python_is_not_used(tmp_path: Path) -> None:
    python_that(tmp_path, ".venv/bin/python", "sys.version_info = (3, 10, 1)")
    code, said = make(tmp_path, f"PYTHON={sys.executable}")
    assert code == 2
    assert ".venv is no virtual environment of Python 3.11 or newer: rm -r .venv, then make again" in said


def test_an_installation_that_fails_says_what_to_look_at_and_is_tried_again(tmp_path: Path) -> None:
    python_that(tmp_path, ".venv/bin/python", "sys.prefix = '/elsewhere'")
    for _ in range(2):
        code, said = make(tmp_path, f"PYTHON={sys.executable}")
        assert code == 2
        assert "no route to the index" in said
        assert "Then make again: it goes on from here." in said


# The cluster -----------------------------------------------------------------------------------------------------


class _Page(http.server.BaseHTTPRequestHandler):
    """A web server that is neither Elasticsearch nor Kibana."""

    def do_GET(self) -> None:
        body = b"<html>Welcome</html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving(context: ssl.SSLContext | None = None) -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def web_server() -> Iterator[str]:
    """URL of a web server that is neither Elasticsearch nor Kibana."""
    with _serving() as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def locked() -> Iterator[Sandbox]:
    """A sandbox that asks for a key."""
    with serve(api_key=KEY) as served:
        yield served


def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refusal(elasticsearch: str = "", kibana: str = "", key: str = "", ca_certs: str = "") -> str:
    """What the demo says to these variables."""
    values = (elasticsearch, kibana, key, ca_certs)
    names = ("ELASTICSEARCH_URL", "KIBANA_URL", "ELASTIC_API_KEY", "ELASTIC_CA_CERTS")
    with pytest.raises(TourError) as caught:
        named_cluster(dict(zip(names, values, strict=True)))
    return str(caught.value)


def test_no_variable_means_the_sandbox() -> None:
    assert named_cluster({"ELASTICSEARCH_URL": "", "KIBANA_URL": ""}) is None


def test_a_cluster_that_answers_is_taken_and_its_key_reaches_airflow_in_the_extra(locked: Sandbox) -> None:
    cluster = named_cluster(
        {
            "ELASTICSEARCH_URL": f"{locked.elasticsearch_url}/",
            "KIBANA_URL": locked.kibana_url,
            "ELASTIC_API_KEY": KEY,
        }
    )
    assert cluster is not None
    assert [connection["host"] for connection in cluster.connections()] == [locked.elasticsearch_url, locked.kibana_url]
    assert cluster.connections()[0]["extra"] == f'{{"api_key": "{KEY}"}}'
    assert "sandbox" not in cluster.address


def test_a_closed_port_is_told_at_once(locked: Sandbox) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    said = refusal(url, locked.kibana_url, KEY)
    assert said.startswith(f"ELASTICSEARCH_URL cannot be used. GET /: cannot connect to {url}")
    assert "Check that the cluster runs" in said


def test_a_web_server_is_not_taken_for_elasticsearch(web_server: str, locked: Sandbox) -> None:
    said = refusal(web_server, locked.kibana_url)
    assert f"The server at {web_server} answered GET / with something that is not JSON" in said
    assert "Check host and port" in said


def test_kibana_s_address_is_not_taken_for_elasticsearch(locked: Sandbox) -> None:
    said = refusal(locked.kibana_url, locked.elasticsearch_url, KEY)
    assert said.startswith("ELASTICSEARCH_URL cannot be used.")
    assert "Kibana's address is the usual mistake" in said


def test_elasticsearch_s_address_is_not_taken_for_kibana(locked: Sandbox) -> None:
    said = refusal(locked.elasticsearch_url, locked.elasticsearch_url, KEY)
    assert said.startswith("KIBANA_URL (")
    assert "is not Kibana" in said


def test_a_kibana_that_does_not_answer_is_told_before_anything_starts(locked: Sandbox) -> None:
    said = refusal(locked.elasticsearch_url, f"http://127.0.0.1:{closed_port()}", KEY)
    assert said.startswith("KIBANA_URL (")
    assert "Check host and port, and that Kibana runs" in said


@pytest.mark.parametrize(
    ("key", "words"), [("", "ELASTIC_API_KEY is not set, and a key is needed"), ("wrong", "ELASTIC_API_KEY is refused")]
)
def test_a_key_that_is_missing_or_wrong_is_named_and_not_repeated(locked: Sandbox, key: str, words: str) -> None:
    said = refusal(locked.elasticsearch_url, locked.kibana_url, key)
    assert said.startswith(f"{words} by {locked.elasticsearch_url}")
    assert "`encoded` value" in said
    assert "wrong credentials" not in said


def test_a_key_cut_by_a_line_break_is_told_without_repeating_it(locked: Sandbox) -> None:
    said = refusal(locked.elasticsearch_url, locked.kibana_url, "half-a\nkey")
    assert "a blank, a line break" in said
    assert "half-a" not in said


@pytest.mark.parametrize(
    ("elasticsearch", "kibana", "words"),
    [
        ("", "http://localhost:5601", "KIBANA_URL is set and ELASTICSEARCH_URL is not"),
        ("http://localhost:9200", "", "KIBANA_URL is not set"),
        ("localhost:9200", "http://localhost:5601", "ELASTICSEARCH_URL (localhost:9200) is not a URL"),
        ("http://me:s3cret@localhost:x", "http://localhost:5601", "ELASTICSEARCH_URL (localhost:x) is not a URL"),
        ("http://localhost:99999", "http://localhost:5601", "ELASTICSEARCH_URL (http://localhost:99999) is not a URL"),
    ],
)
def test_a_url_that_is_missing_or_none_is_named(elasticsearch: str, kibana: str, words: str) -> None:
    said = refusal(elasticsearch, kibana)
    assert said.startswith(words)
    assert "s3cret" not in said


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_names_the_variable_that_does(tmp_path: Path, locked: Sandbox) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with _serving(context) as port:
        said = refusal(f"https://127.0.0.1:{port}", locked.kibana_url)
        assert "certificate verify failed" in said
        assert "make demo ELASTIC_CA_CERTS=/path/to/http_ca.crt" in said
        missing = refusal(f"https://127.0.0.1:{port}", locked.kibana_url, ca_certs=str(tmp_path / "none.crt"))
        assert f"names ca_certs {tmp_path / 'none.crt'}, which is not there" in missing
        plain = refusal(f"http://127.0.0.1:{port}", locked.kibana_url)
        assert "if it speaks TLS, write https://" in plain


def test_a_licence_without_machine_learning_stops_before_training_with_the_licence_s_name() -> None:
    with serve(license="basic") as basic:
        cluster = Cluster(basic.elasticsearch_url, basic.kibana_url, None, sandbox=False)
        with pytest.raises(TourError, match=r"is 'basic', which has no machine learning[\s\S]*start_trial"):
            refuse_without_ml(cluster)


# The machine -----------------------------------------------------------------------------------------------------


def test_a_wrong_cluster_ends_the_program_with_a_code_before_airflow_is_started(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from demo import __main__ as tour;"
        f"tour.FOLDER = Path({str(tmp_path / 'build' / 'demo')!r}); sys.exit(tour.main([]))"
    )
    address = f"http://127.0.0.1:{closed_port()}"
    environment = {**os.environ, "ELASTICSEARCH_URL": address, "KIBANA_URL": address}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "The demo stopped" in done.stdout
    assert "ELASTICSEARCH_URL cannot be used" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert not (tmp_path / "build" / "demo").exists()


def test_too_little_room_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _leave_room(tmp_path, monkeypatch, megabytes=499)
    with pytest.raises(TourError, match="has 499 MB left, the demo needs 500 MB: free some, then run it again"):
        tour._check_disk()


def test_a_disk_that_fills_up_is_named_whatever_failed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = TourError("Airflow answered 500 to GET backfills")
    _leave_room(tmp_path, monkeypatch, megabytes=2)
    said = tour._explained(failure)
    assert said.startswith(f"The disk of {tmp_path} is full (2 MB left)")
    assert "free 500 MB, then run it again" in said
    assert said.endswith(str(failure))
    with pytest.raises(TourError):
        tour._check_going_on(Sessions(tmp_path))
    _leave_room(tmp_path, monkeypatch, megabytes=2_000)
    tour._check_going_on(Sessions(tmp_path))
    assert tour._explained(failure) == str(failure)


def test_a_program_that_ends_in_the_middle_stops_the_waiting(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    sessions.start("sandbox", [sys.executable, "-c", "raise SystemExit('out of memory')"], os.environ).wait(20)
    with pytest.raises(TourError, match=r"sandbox ended with exit code 1[\s\S]*out of memory"):
        tour._check_going_on(sessions)


def test_a_file_in_the_place_of_build_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "build").write_text("")
    monkeypatch.setattr(tour, "FOLDER", tmp_path / "build" / "demo")
    monkeypatch.setattr(tour.signal, "signal", lambda *_: None)
    assert tour.main([]) == 1
    said = capsys.readouterr().out
    assert "The demo stopped" in said
    assert "File exists" in said


def test_an_anchor_that_holds_no_day_is_named(tmp_path: Path) -> None:
    (tmp_path / "anchor.json").write_text('{"last_day": "20')
    with pytest.raises(TourError, match=r"anchor\.json does not hold the demo's last day[\s\S]*make clean"):
        choose_days(tmp_path)


def _leave_room(folder: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(tour, "FOLDER", folder / "demo")
    monkeypatch.setattr(tour.shutil, "disk_usage", lambda _: usage(0, 0, megabytes * 2**20))
