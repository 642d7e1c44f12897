"""What the images run, with stand-ins for their programs; what `make stack-*` does, with a stand-in for the cluster."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from docker.compose import FOLDER

SECRETS = {
    "KEYSTORE_PASSWORD": "opens-the-keystore",
    "ELASTIC_PASSWORD": "of-elastic",
    "TLS_KEY_PASSPHRASE": "opens-the-keys",
    "KIBANA_PASSWORD": "of-kibana",
    "KIBANA_ENCRYPTION_KEY": "encrypts-saved-objects",
    "LOGSTASH_KEYSTORE_PASS": "opens-logstash",
    "LOGSTASH_HTTP_PASSWORD": "of-http",
    "PASSPHRASE": "opens-the-keys",
}
# Writes its name, arguments, input and the secrets it was given as one line of the log.
STAND_IN = """#!{python}
import json, os, pathlib, sys
given = "" if sys.stdin.isatty() else sys.stdin.read()
held = sorted(name for name in {secrets!r} if name in os.environ)
with open({log!r}, "a") as log:
    log.write(json.dumps([pathlib.Path(sys.argv[0]).name, sys.argv[1:], given.splitlines(), held]) + "\\n")
"""


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


stack = loaded("stack")


class Image:
    """A folder that stands for a container's file system."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"

    def put(self, path: str, text: str = "") -> None:
        target = self.folder / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        made = STAND_IN.format(python=sys.executable, secrets=list(SECRETS), log=str(self.log))
        target.write_text(text or made)
        target.chmod(0o755)

    def run(self, script: str) -> list[tuple[str, list[str], list[str], list[str]]]:
        """Run a script with absolute paths led into the folder; the calls it made."""
        text = (FOLDER / script).read_text()
        for root in ("/usr/share", "/usr/local", "/secrets", "/certs", "/stack"):
            text = text.replace(f" {root}", f" {self.folder}{root}").replace(f'"{root}', f'"{self.folder}{root}')
            text = text.replace(f"={root}", f"={self.folder}{root}")
        path = os.pathsep.join([str(self.folder / "path"), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", text, script],
            env={**SECRETS, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return Image(tmp_path)


def without_secrets(calls: list[Any]) -> bool:
    return not any(value in word for _, arguments, _, _ in calls for word in arguments for value in SECRETS.values())


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_every_script_is_bash_and_stops_at_its_first_error(script: Path):
    subprocess.run(["bash", "-n", script], check=True)
    assert "\nset -euo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)


def test_elasticsearch_starts_with_an_encrypted_keystore_that_holds_the_keys_passphrase(image: Image):
    image.put("/usr/share/elasticsearch/bin/elasticsearch-keystore")
    image.put("/usr/share/elasticsearch/config/elasticsearch.keystore", "of an earlier start")
    image.put("/usr/local/bin/docker-entrypoint.sh")
    created, http, transport, entry = image.run("elasticsearch.sh")
    assert created[1:3] == (["create", "-p"], ["opens-the-keystore"] * 2)
    for call, layer in ((http, "http"), (transport, "transport")):
        assert call[1] == ["add", "-x", f"xpack.security.{layer}.ssl.secure_key_passphrase"]
        assert call[2] == ["opens-the-keystore", "opens-the-keys"]
    assert entry[:2] == ("docker-entrypoint.sh", ["eswrapper"])
    assert "TLS_KEY_PASSPHRASE" not in entry[3]
    assert {"KEYSTORE_PASSWORD", "ELASTIC_PASSWORD"} <= set(entry[3])  # the image's entry point needs both
    assert without_secrets([created, http, transport, entry])
    assert not (image.folder / "usr/share/elasticsearch/config/elasticsearch.keystore").exists()


def test_kibana_has_its_secrets_in_its_keystore_and_not_in_its_environment(image: Image):
    image.put("/usr/share/kibana/bin/kibana-keystore")
    image.put("/usr/local/bin/kibana-docker")
    created, *puts, started = image.run("kibana.sh")
    assert created[1] == ["create"]
    assert {call[1][1]: call[2] for call in puts} == {
        "elasticsearch.password": ["of-kibana"],
        "xpack.encryptedSavedObjects.encryptionKey": ["encrypts-saved-objects"],
        "server.ssl.keyPassphrase": ["opens-the-keys"],
    }
    assert started[0] == "kibana-docker"
    assert not {"KIBANA_PASSWORD", "KIBANA_ENCRYPTION_KEY", "TLS_KEY_PASSPHRASE"} & set(started[3])
    assert without_secrets([created, *puts, started])


def test_logstash_has_its_secrets_in_its_keystore(image: Image):
    image.put("/usr/share/logstash/bin/logstash-keystore")
    image.put("/usr/local/bin/docker-entrypoint")
    (image.folder / "secrets").mkdir()
    (image.folder / "secrets/api_key").write_text("id:key")
    created, *puts, started = image.run("logstash.sh")
    assert created[1] == ["create"]
    assert {call[1][1]: call[2] for call in puts} == {
        "ES_API_KEY": ["id:key"], "HTTP_PASSWORD": ["of-http"], "TLS_KEY_PASSPHRASE": ["opens-the-keys"],
    }  # fmt: skip
    assert started[0] == "docker-entrypoint"
    assert "LOGSTASH_KEYSTORE_PASS" in started[3]
    assert not {"LOGSTASH_HTTP_PASSWORD", "PASSPHRASE"} & set(started[3])
    assert without_secrets([created, *puts, started])


CERTUTIL = """#!{python}
import sys, zipfile
names = ["ca"] if sys.argv[1] == "ca" else ["elasticsearch", "kibana", "logstash", "shipper"]
with open({log!r}, "a") as log:
    log.write('["certutil", ["' + sys.argv[1] + '"], [], []]\\n')
with zipfile.ZipFile(sys.argv[sys.argv.index("--out") + 1], "w") as made:
    for name in names:
        made.writestr(f"{{name}}/{{name}}.crt", name)
        made.writestr(f"{{name}}/{{name}}.key", name)
"""
UNZIP = "#!{python}\nimport sys, zipfile\nzipfile.ZipFile(sys.argv[2]).extractall(sys.argv[4])\n"


def test_certificates_are_made_once_and_an_interrupted_run_is_made_good(image: Image):
    names = {"python": sys.executable, "log": str(image.log)}
    image.put("/usr/share/elasticsearch/bin/elasticsearch-certutil", CERTUTIL.format(**names))
    image.put("/path/unzip", UNZIP.format(**names))
    image.put("/path/chown", "#!/bin/sh\n")
    certs = image.folder / "certs"
    certs.mkdir()
    assert [call[1] for call in image.run("certificates.sh")] == [["ca"], ["cert"]]
    kept = certs / "elasticsearch" / "elasticsearch.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert stat.S_IMODE((certs / "ca/ca.key").stat().st_mode) == 0o600
    assert len(image.run("certificates.sh")) == 2  # nothing was made again
    shutil.rmtree(certs / "shipper")
    assert [call[1] for call in image.run("certificates.sh")][2:] == [["cert"]]


def test_every_instance_that_gets_a_certificate_is_moved_into_place():
    names = [line.split()[-1] for line in (FOLDER / "instances.yml").read_text().splitlines() if "- name:" in line]
    assert f"for name in {' '.join(names)}; do" in (FOLDER / "certificates.sh").read_text()


def test_new_secrets_are_made_once_for_their_owner_only(tmp_path: Path):
    target = tmp_path / ".env"
    assert stack.write_env(target=target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    made = stack.variables(target)
    assert set(made) == set(stack.variables(stack.EXAMPLE))
    assert len(set(made.values())) == len(made)
    assert all(stack.SECRET.fullmatch(value) for value in made.values())
    assert len(made["KIBANA_ENCRYPTION_KEY"]) >= 32
    Fernet(made["AIRFLOW_FERNET_KEY"].encode())
    assert not stack.write_env(target=target)
    assert stack.variables(target) == made


@pytest.mark.parametrize("wrong", ["", "short", 'has"quote-and-is-long-enough', "has$dollar-and-is-long-enough"])
def test_a_secret_that_would_not_arrive_as_it_is_written_is_named(tmp_path: Path, wrong: str):
    target = tmp_path / ".env"
    stack.write_env(target=target)
    lines = [f"KIBANA_PASSWORD={wrong}" if line.startswith("KIBANA_P") else line
             for line in target.read_text().splitlines()]  # fmt: skip
    target.write_text("\n".join(lines))
    with pytest.raises(stack.StackError, match="KIBANA_PASSWORD"):
        stack.write_env(target=target)


class Cluster:
    """Answers as Elasticsearch's security and licence APIs do."""

    def __init__(self) -> None:
        self.licence, self.trials, self.asked = "basic", 1, list[tuple[str, str, Any]]()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_any(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"null")
                cluster.asked.append((self.command, self.path, body))
                status, answer = cluster.answer(self.command, self.path)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_any  # noqa: N815 - the server's names

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        if path == "/_license":
            return 200, {"license": {"type": self.licence}}
        if path.startswith("/_license/start_trial"):
            if not self.trials:
                return 403, {"acknowledged": True, "trial_was_started": False, "error_message": "Trial was used."}
            self.trials, self.licence = 0, "trial"
            return 200, {"acknowledged": True, "trial_was_started": True}
        if method == "DELETE":
            return 404, {"error": "none of that name"}
        return 200, {"id": "i", "api_key": "k", "encoded": base64.b64encode(b"i:k").decode()}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_trial_is_started_once_and_a_used_one_says_what_to_do(cluster: Cluster, tmp_path: Path):
    assert stack.start_trial(cluster.url, "p", tmp_path) == "trial"
    assert stack.start_trial(cluster.url, "p", tmp_path) == "trial"
    assert sum("start_trial" in path for _, path, _ in cluster.asked) == 1
    cluster.licence = "basic"
    with pytest.raises(stack.StackError, match=r"Trial was used"):
        stack.start_trial(cluster.url, "p", tmp_path)


def test_a_key_replaces_the_one_of_the_same_name(cluster: Cluster, tmp_path: Path):
    assert stack.new_key(cluster.url, "p", tmp_path, "logstash", stack.LOGSTASH_RIGHTS)["encoded"]
    (delete, create) = cluster.asked
    assert delete[2] == {"name": "logstash", "owner": True}
    assert create[2]["role_descriptors"]["logstash"]["indices"][0]["privileges"] == ["auto_configure", "create_doc"]


def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path):
    with pytest.raises(stack.StackError, match="make stack-up"):
        stack.ask("GET", "http://127.0.0.1:9/", "a-secret", tmp_path)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_logstash_gets_its_key_in_the_form_it_reads(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TLS_KEY_PASSPHRASE", "opens-the-keys")
    given, target = tmp_path / "logstash", tmp_path / "secrets"
    given.mkdir()
    encrypted = ["openssl", "genrsa", "-aes128", "-traditional", "-passout", "env:TLS_KEY_PASSPHRASE", "-out"]
    subprocess.run([*encrypted, given / "logstash.key", "2048"], check=True, capture_output=True)
    stack.prepare_logstash(cluster.url, "p", tmp_path, given, target)
    key = (target / "logstash.pkcs8.key").read_text()
    assert key.startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", target / "logstash.pkcs8.key"], check=True, capture_output=True
    )
    assert b"pbeWithSHA1And3-KeyTripleDES-CBC" in shown.stdout
    opened = ["openssl", "rsa", "-in", target / "logstash.pkcs8.key", "-passin", "env:TLS_KEY_PASSPHRASE", "-check"]
    subprocess.run([*opened, "-noout"], check=True, capture_output=True)
    assert (target / "api_key").read_text() == "i:k"
    assert {stat.S_IMODE(file.stat().st_mode) for file in target.iterdir()} == {0o640}
