"""MLflow's webhooks to Logstash: checks signature and age, which Logstash cannot, and hands the event on.

Standard library only::

    MLFLOW_WEBHOOK_SECRET=... LOGSTASH_URL=https://logstash:8080/ml.registry HTTP_USER=... HTTP_PASSWORD=... \\
        python webhook_receiver.py --certificate receiver.crt --key receiver.key

MLflow delivers to https and public addresses only, unless MLFLOW_WEBHOOK_ALLOWED_SCHEMES and
MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS say otherwise. It signs `<delivery id>.<unix time>.<body>` with HMAC-SHA256 when the
webhook has a secret, and repeats a delivery with the same headers after a 429 or 5xx: the delivery id becomes the
event's id, so that a repeated one is one document.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import logging
import os
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST_BODY = 1024 * 1024
MAX_AGE = 300.0
"""Seconds: an older delivery is refused, since somebody may have kept it. MLflow's own retries come sooner."""

_logger = logging.getLogger("mlflow.webhooks")
Send = Callable[[bytes], None]


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the receiver
    """A delivery that is not handed on.

    :param status: what MLflow is answered; it tries again after 429 and 5xx only.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def event_of(secret: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bytes:
    """The line for Logstash that a delivery becomes: its body with the delivery's id.

    :raises Refused: it is not signed with the secret, too old, or no JSON object.
    """
    delivery, stamp = headers.get("X-MLflow-Delivery-Id", ""), headers.get("X-MLflow-Timestamp", "")
    signed = f"{delivery}.{stamp}.".encode() + body
    digest = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    # Compared as bytes: texts that are not ASCII would raise. The signature first: nothing unsigned is looked at.
    given = headers.get("X-MLflow-Signature", "").encode("utf-8", "replace")
    if not delivery or not hmac.compare_digest(f"v1,{digest}".encode(), given):
        raise Refused(401, "the signature is missing or made with another secret")
    if not stamp.isdigit() or abs(now - int(stamp)) > MAX_AGE:
        raise Refused(401, f"it was signed more than {MAX_AGE:.0f} seconds ago, or the clocks differ")
    try:
        event = json.loads(body)
    except ValueError:
        raise Refused(400, "the body is no JSON") from None
    if not isinstance(event, dict):
        raise Refused(400, "the body is no JSON object")
    return json.dumps({**event, "event": {"id": delivery}}).encode() + b"\n"


@dataclass(frozen=True)
class Logstash:
    """Where events go: the http input of the pipeline `inputs`."""

    url: str
    user: str
    password: str
    ca: str | None = None

    def __call__(self, line: bytes) -> None:
        """Post one line.

        :raises OSError: Logstash cannot be reached or does not take it.
        """
        credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        headers = {"authorization": f"Basic {credentials}", "content-type": "application/x-ndjson"}
        request = urllib.request.Request(self.url, line, headers, method="POST")  # noqa: S310 - an operator's address
        context = ssl.create_default_context(cafile=self.ca) if self.url.startswith("https:") else None
        with urllib.request.urlopen(request, timeout=20, context=context):  # noqa: S310
            return


def server(address: tuple[str, int], secret: bytes, send: Send) -> ThreadingHTTPServer:
    """A server that is not serving yet."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_POST(self) -> None:
            """Take one delivery."""
            try:
                length = self.headers.get("Content-Length", "")
                if not length.isdigit() or int(length) > LONGEST_BODY:
                    raise Refused(413, f"the body has no length, or more than {LONGEST_BODY} bytes")
                body = self.rfile.read(int(length))
                send(event_of(secret, self.headers, body, time.time()))
            except Refused as refused:
                _logger.warning("a delivery from %s was refused: %s", self.client_address[0], refused)
                self._answer(refused.status, str(refused))
            except OSError as error:
                _logger.error("Logstash did not take a delivery, MLflow will try again: %s", error)
                self._answer(502, "Logstash did not take it")
            else:
                self._answer(200, "ok")

        def _answer(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Requests are logged by what became of them."""

    return ThreadingHTTPServer(address, Handler)


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped; 2 when a setting is missing."""
    parser = argparse.ArgumentParser(
        description="Hand MLflow's webhooks on to Logstash after checking their signatures."
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default %(default)s)")  # noqa: S104
    parser.add_argument("--port", type=int, default=8090, help="port to listen on (default %(default)s)")
    parser.add_argument("--certificate", help="PEM file; with --key it listens with TLS, which MLflow asks for")
    parser.add_argument("--key", help="PEM file of the certificate's key")
    options = parser.parse_args(arguments)
    names = ("MLFLOW_WEBHOOK_SECRET", "LOGSTASH_URL", "HTTP_USER", "HTTP_PASSWORD")
    if missing := [name for name in names if not os.environ.get(name)]:
        sys.stderr.write(f"webhook_receiver: set {', '.join(missing)} in the environment\n")
        return 2
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    secret, url, user, password = (os.environ[name] for name in names)
    receiver = server(
        (options.host, options.port), secret.encode(), Logstash(url, user, password, os.environ.get("TLS_CA"))
    )
    if options.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True, do_handshake_on_connect=False)
    _logger.info("listening on %s:%s", *receiver.server_address[:2])
    try:
        receiver.serve_forever()
    except KeyboardInterrupt:
        return 0
    finally:
        receiver.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
