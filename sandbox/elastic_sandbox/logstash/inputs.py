"""What the beats and http inputs make of what they are sent.

Rules: message_listener.rb and decoded_event_transform.rb of logstash-input-beats, http.rb of logstash-input-http,
line.rb of logstash-codec-line, charset.rb of elastic/logstash.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from elastic_sandbox.logstash.config import ConfigError, Plugin
from elastic_sandbox.logstash.event import Event, copied, timestamp_of


def decode_beats(given: dict[str, Any], settings: Mapping[str, Any], now: datetime) -> Event:
    """One event of a shipper, its `@timestamp` kept where it is one."""
    fields = copied(given)
    message = fields.pop("message", None)
    stamp = fields.pop("@timestamp", None)
    enriched = settings.get("enrich") not in ("none", ["none"])
    decoded: dict[str, Any] = {}
    if isinstance(message, str):
        decoded["message"] = message
        if enriched:
            decoded["event"] = {"original": message}
    event = Event(decoded, now)
    if (moment := timestamp_of(stamp)) is not None:
        event.set("@timestamp", moment)
    for key, value in fields.items():
        held = event.get(key)
        event.set(key, {**held, **value} if isinstance(held, dict) and isinstance(value, dict) else value)
    if message is not None and not isinstance(message, str):
        event.set("message", message)
    if enriched:
        event.tag("beats_input_raw_event" if message is None else "beats_input_codec_plain_applied")
    return event


def decode_http(
    path: str, body: bytes, headers: Mapping[str, str], plugin: Plugin, settings: Mapping[str, Any], now: datetime
) -> list[Event]:
    """The events of one request's body: one per line with `codec => line`, else one."""
    codec = plugin.settings.get("codec", "plain")
    name = codec.name if isinstance(codec, Plugin) else codec
    if name not in {"line", "plain"} or settings.get("additional_codecs", {"application/json": "json"}):
        raise ConfigError(
            f"{plugin.place}: http: the runner executes codec => line or plain with additional_codecs => {{}}"
        )
    parts = body.split(b"\n") if name == "line" else [body]
    if name == "line" and not parts[-1]:
        parts.pop()
    sent = {name.lower(): value for name, value in headers.items()}
    events = []
    for part in parts:
        text = utf8(part)
        event = Event({"message": text, "event": {"original": text}}, now)
        for field, value in (
            ("[http][version]", "HTTP/1.1"),
            ("[user_agent][original]", sent.get("user-agent")),
            ("[url][domain]", sent.get("host", "").rpartition(":")[0] or None),
            ("[http][method]", "POST"),
            ("[url][path]", path),
            ("[http][request][body][bytes]", str(len(body))),
            ("[http][request][mime_type]", sent.get("content-type")),
        ):
            if value is not None:
                event.set(field, value)
        # The header `Authorization` is among them: it stays in @metadata, which no output writes.
        event.set("[@metadata][input][http][request][headers]", {k.replace("-", "_"): v for k, v in sent.items()})
        event.set("[host][ip]", "127.0.0.1")
        events.append(event)
    return events


def utf8(data: bytes) -> str:
    """Bytes as text; what is no UTF-8 is escaped as Ruby's `inspect` does, the text with it (charset.rb)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    shown = []
    at = 0
    while at < len(data):
        for size in (1, 2, 3, 4):
            try:
                shown.append(_inspected(data[at : at + size].decode()))
            except UnicodeDecodeError:
                continue
            at += size
            break
        else:
            shown.append(f"\\x{data[at]:02X}")
            at += 1
    return "".join(shown)


_INSPECTED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\u0000", "\x1b": "\\e"}


def _inspected(char: str) -> str:
    return _INSPECTED.get(char, char if ord(char) >= 32 else f"\\u{ord(char):04X}")
