"""`python -m elastic_ml roles`: roles and keys for Dev Tools, role files, and the script that makes the keys."""

import http.server
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.specification import specification

from elastic_ml.cli.main import main
from elastic_ml.project.privileges import KEYS

SECRET = "c2VjcmV0OmtleQ=="
ADMIN = "YWRtaW46a2V5"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with a project `shop`."""
    monkeypatch.chdir(tmp_path)
    main(["init", "include", "--name", "shop"])
    capsys.readouterr()
    return tmp_path


class Elasticsearch(http.server.BaseHTTPRequestHandler):
    """Answers the create API key API, which the sandbox does not have: nobody but this script calls it."""

    asked: list[tuple[str, str, Any]]
    refuse: str

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, self.headers["authorization"], body))
        status, answer = 200, {"id": "1", "name": body["name"], "api_key": "x", "encoded": SECRET}
        if body["name"] == self.refuse:
            status, answer = 403, {"error": {"reason": "action [create_api_key] is unauthorized"}, "status": 403}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's word
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Any]:
    handler = type("Handler", (Elasticsearch,), {"asked": [], "refuse": ""})
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield handler, f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()


def make(folder: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": os.environ["PATH"], "ELASTICSEARCH_URL": url, "ELASTIC_ADMIN_API_KEY": ADMIN, **more}
    return subprocess.run([folder / "make_keys.sh"], env=variables, capture_output=True, text=True, check=False)


def test_each_of_the_six_keys_has_a_role_and_a_request_that_elasticsearch_takes(there: Path) -> None:
    assert main(["roles", "include", "--out", "rights", "--expiration", "30d"]) == 0
    spec = specification()
    for key in KEYS:
        role = json.loads((there / "rights" / f"shop-{key}.role.json").read_text())
        request = json.loads((there / "rights" / f"shop-{key}.key.json").read_text())
        assert spec.check_request("security.put_role", role) == []
        assert spec.check_request("security.create_api_key", request) == []
        assert request["role_descriptors"] == {f"shop-{key}": role}
        assert request["expiration"] == "30d"


def test_dev_tools_requests_are_roles_or_keys(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roles", "include"]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("PUT")] == [
        f"PUT /_security/role/shop-{key}" for key in KEYS
    ]
    assert main(["roles", "include", "--keys", "--role", "kibana", "--space", "ml"]) == 0
    request = json.loads(capsys.readouterr().out.partition("POST /_security/api_key\n")[2])
    assert request["role_descriptors"]["shop-kibana"]["applications"][0]["resources"] == ["space:ml"]
    assert request["expiration"] == "90d"


def test_a_key_without_an_end_is_not_asked_for(there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["roles", "include", "--expiration", "never"]) == 2
    assert "never is no time that a key is valid for" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script calls curl")
def test_the_script_makes_each_key_once_and_shows_none(there: Path, server: Any) -> None:
    handler, url = server
    main(["roles", "include", "--out", "rights"])
    first = make(there / "rights", url)
    assert first.returncode == 0, first.stderr
    assert {path for path, _, _ in handler.asked} == {"/_security/api_key"}
    assert {said for _, said, _ in handler.asked} == {f"ApiKey {ADMIN}"}
    assert {body["name"] for _, _, body in handler.asked} == {f"shop-{key}" for key in KEYS}
    for key in KEYS:
        made = there / "rights" / f"shop-{key}.key"
        assert made.read_text() == SECRET
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
    again = make(there / "rights", url)
    assert (again.returncode, len(handler.asked)) == (0, len(KEYS))
    assert again.stdout.count("kept") == len(KEYS)
    for said in (first.stdout, first.stderr, again.stdout, again.stderr):
        assert SECRET not in said
        assert ADMIN not in said


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script calls curl")
def test_a_refused_key_is_named_and_the_others_are_made(there: Path, server: Any) -> None:
    handler, url = server
    handler.refuse = "shop-learn"
    main(["roles", "include", "--out", "rights"])
    done = make(there / "rights", url)
    assert done.returncode == 1
    assert "failed   shop-learn" in done.stderr
    assert "unauthorized" in done.stderr
    assert not (there / "rights" / "shop-learn.key").exists()
    assert done.stdout.count("made") == len(KEYS) - 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="the script calls curl")
def test_without_credentials_the_script_says_what_to_set(there: Path) -> None:
    main(["roles", "include", "--out", "rights"])
    done = make(there / "rights", "http://127.0.0.1:9", ELASTIC_ADMIN_API_KEY="")
    assert done.returncode == 2
    assert "ELASTIC_ADMIN_API_KEY" in done.stderr
