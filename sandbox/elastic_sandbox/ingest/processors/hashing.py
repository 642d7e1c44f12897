"""`fingerprint`: a hash over fields, byte for byte Elasticsearch's.

The bytes hashed are the salt, then per value (fields in the order of their names, lists in order, maps by key as key
and value) a zero byte and the value: UTF-8 text, little-endian integers of 4 or 8 bytes, IEEE doubles, 1 or 2 for true
and false, nothing for null. `MurmurHash3` is the 128-bit x64 variant with seed 0, its two halves written big-endian.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import mmh3

from elastic_sandbox.ingest.document import IngestDocument, illegal
from elastic_sandbox.ingest.processors import EachProcessor, register

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config


def _murmur(data: bytes) -> bytes:
    low, high = mmh3.hash64(data, seed=0, x64arch=True, signed=False)
    return struct.pack(">QQ", low, high)


METHODS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "MD5": lambda data: hashlib.md5(data, usedforsecurity=False).digest(),
    "SHA-1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "SHA-256": lambda data: hashlib.sha256(data).digest(),
    "SHA-512": lambda data: hashlib.sha512(data).digest(),
    "MurmurHash3": _murmur,
}


def value_bytes(value: Any) -> bytes:
    """The bytes of one scalar."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"\x01" if value else b"\x02"
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return struct.pack("<i" if -(2**31) <= value < 2**31 else "<q", value)
    if isinstance(value, float):
        return struct.pack("<d", value)
    if value is None:
        return b""
    raise illegal(f"cannot convert object of type [{type(value).__name__}] to bytes")


def _append(value: Any, parts: list[bytes]) -> None:
    if isinstance(value, list):
        for item in value:
            _append(item, parts)
    elif isinstance(value, dict):
        for key in sorted(value):
            parts.append(b"\x00" + value_bytes(key))
            _append(value[key], parts)
    else:
        parts.append(b"\x00" + value_bytes(value))


class FingerprintProcessor(EachProcessor):
    """`fingerprint`."""

    type = "fingerprint"

    def __init__(self, _backend: Backend, config: Config) -> None:
        fields = config.array("fields")
        if not fields:
            raise config.error("fields", "must specify at least one field")
        self._fields = sorted(map(str, fields))
        self._target: str = config.string("target_field", "fingerprint")
        salt = config.string("salt", "")
        self._salt = salt.encode() if salt.strip() else b""
        method = config.string("method", "SHA-1")
        if method not in METHODS:
            raise config.error("method", f"[{method}] must be one of the supported hash methods [{','.join(METHODS)}]")
        self._digest = METHODS[method]
        self._ignore_missing = config.boolean("ignore_missing")

    def process(self, document: IngestDocument) -> None:
        """Set the base64 of the digest; nothing when all fields are missing and that is allowed."""
        parts = [self._salt]
        for field in self._fields:
            value = document.find(field)
            if value is None:
                if self._ignore_missing:
                    continue
                raise illegal(f"missing field [{field}] when calculating fingerprint")
            _append(value, parts)
        if len(parts) > 1:
            document.set(self._target, base64.b64encode(self._digest(b"".join(parts))).decode())


register("fingerprint", FingerprintProcessor)
