"""What `make stack-*` does besides docker compose: `python docker/stack.py env | trial | key | logstash`.

Standard library only: `env`, `trial` and `key` run on the host, `logstash` in the compose service logstash-secrets.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import secrets
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXAMPLE = Path(__file__).with_name("example.env")
ENV = Path(__file__).with_name(".env")
CA = ROOT / "build" / "stack" / "ca.crt"
HOST_URL = "https://localhost:9200"
# They stand in URLs, in JSON and in commands: nothing that any of these would have to quote.
SECRET = re.compile(r"[A-Za-z0-9_-]{16,}=*")
# What the golden events' run writes, and nothing else.
LOGSTASH_RIGHTS = {
    "logstash": {
        "cluster": ["monitor"],
        "indices": [{"names": ["logs-*-*"], "privileges": ["auto_configure", "create_doc"]}],
    }
}


class StackError(Exception):
    """What is wrong, and what to do about it."""


def variables(path: Path) -> dict[str, str]:
    """Names and values of a file of `NAME=value` lines."""
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def write_env(example: Path = EXAMPLE, target: Path = ENV) -> bool:
    """Make ``target`` of ``example`` with a secret in each empty place; whether it was made.

    :raises StackError: a file that is there lacks a variable, or has a value that compose could not pass on.
    """
    if target.exists():
        written = variables(target)
        for name in variables(example):
            if not SECRET.fullmatch(written.get(name, "")):
                raise StackError(
                    f"{target}: {name} needs at least 16 letters, digits, - or _ (a Fernet key may end in =). "
                    "Correct it; or delete the file and run `make stack-down VOLUMES=1` first, which deletes all data: "
                    "new secrets do not open what old ones have encrypted."
                )
        return False
    lines = []
    for line in example.read_text("utf-8").splitlines():
        made = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() if "FERNET" in line else secrets.token_hex(24)
        lines.append(line + made if line.endswith("=") and not line.startswith("#") else line)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return True


def ask(method: str, url: str, password: str, ca: Path, body: Any = None) -> Any:
    """Send a request as `elastic` and give the answer's JSON.

    :raises StackError: the server cannot be reached, or refuses.
    """
    credentials = base64.b64encode(f"elastic:{password}".encode()).decode()
    headers = {"authorization": f"Basic {credentials}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - https or http of our own
    try:
        context = ssl.create_default_context(cafile=str(ca)) if url.startswith("https:") else None
        with urllib.request.urlopen(request, timeout=60, context=context) as response:  # noqa: S310
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        raise StackError(f"{method} {url} was refused with {error.code}: {error.read()[:500].decode()}") from None
    except (OSError, ValueError) as error:
        raise StackError(f"{method} {url} did not work: {error}. Is the stack up? `make stack-up`") from None


def start_trial(url: str, password: str, ca: Path) -> str:
    """Start the 30 days of all features, machine learning among them; the licence's type afterwards."""
    if ask("GET", f"{url}/_license", password, ca)["license"]["type"] == "basic":
        answer = ask("POST", f"{url}/_license/start_trial?acknowledge=true", password, ca)
        if not answer.get("trial_was_started"):
            raise StackError(
                f"No trial was started: {answer.get('error_message', answer)} A cluster has one per major version; "
                "`make stack-down VOLUMES=1` deletes this one with all its data."
            )
    return str(ask("GET", f"{url}/_license", password, ca)["license"]["type"])


def new_key(url: str, password: str, ca: Path, name: str, rights: dict[str, Any] | None = None) -> dict[str, str]:
    """Replace the API key of that name: `id`, `api_key`, `encoded`. Without ``rights`` it may do all, for a day."""
    body: dict[str, Any] = {"name": name, "role_descriptors": rights} if rights else {"name": name, "expiration": "1d"}
    try:
        ask("DELETE", f"{url}/_security/api_key", password, ca, {"name": name, "owner": True})
    except StackError as error:
        if "404" not in str(error):
            raise
    made: dict[str, str] = ask("POST", f"{url}/_security/api_key", password, ca, body)
    return made


def prepare_logstash(url: str, password: str, ca: Path, certificates: Path, target: Path) -> None:
    """Write what only Logstash needs: its API key, and its TLS key in the form its inputs read.

    They take PKCS#8. Netty reads PBES2 since 4.1.97 only (netty/netty#13539), PBE-SHA1-3DES in every version.
    """
    key = new_key(url, password, ca, "logstash", LOGSTASH_RIGHTS)
    target.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", str(certificates / "logstash.key"),
         "-passin", "env:TLS_KEY_PASSPHRASE", "-passout", "env:TLS_KEY_PASSPHRASE",
         "-out", str(target / "logstash.pkcs8.key")],
        check=True,
    )  # fmt: skip
    (target / "api_key").write_text(f"{key['id']}:{key['api_key']}", "utf-8")
    for file in target.iterdir():
        file.chmod(0o640)


def main(arguments: list[str] | None = None) -> int:
    """Run one of the verbs."""
    parser = argparse.ArgumentParser(prog="python docker/stack.py", description=__doc__)
    parser.add_argument("verb", choices=["env", "trial", "key", "logstash"])
    verb = parser.parse_args(arguments).verb
    try:
        if verb == "env":
            sys.stdout.write("docker/.env: new secrets\n" if write_env() else "docker/.env is complete\n")
        elif verb == "logstash":
            began = time.monotonic()
            password = os.environ["ELASTIC_PASSWORD"]
            prepare_logstash(
                os.environ["ELASTICSEARCH"],
                password,
                Path("/certs/ca/ca.crt"),
                Path("/certs/logstash"),
                Path("/secrets"),
            )
            sys.stdout.write(f"Logstash's key and secrets are in place ({time.monotonic() - began:.1f} s)\n")
        else:
            if not ENV.exists() or not CA.exists():
                raise StackError("There is no stack here yet: `make stack-up`")
            password = variables(ENV)["ELASTIC_PASSWORD"]
            if verb == "trial":
                sys.stdout.write(f"licence: {start_trial(HOST_URL, password, CA)}\n")
            else:
                sys.stdout.write(new_key(HOST_URL, password, CA, "stack-test")["encoded"] + "\n")
    except StackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
