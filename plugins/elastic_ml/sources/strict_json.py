"""JSON as records bring it, read strictly: UTF-8, no NaN, one object, no more nesting than a stack holds."""

from __future__ import annotations

import json
from typing import Any, NoReturn


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# Made once: json.loads and json.dumps with options make one per call.
DECODER = json.JSONDecoder(parse_constant=_no_number)
encode_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_scan: Any = DECODER.scan_once  # type: ignore[attr-defined]  # the C scanner; decode() only adds white space to it


def parse_object(data: bytes) -> dict[str, Any]:
    """One JSON object.

    :raises ValueError: the reason why it cannot be read.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(not_utf8(data, error.start)) from None
    try:
        record, end = _scan(text, 0)
        if end != len(text):
            record = DECODER.decode(text)
    except StopIteration:
        record = _parse_carefully(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(_no_json(text, error)) from None
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__} and no object")  # noqa: TRY004 - a record's fault
    return record


def _parse_carefully(text: str) -> Any:
    """What starts with no value: white space and a byte order mark may come before one."""
    try:
        return DECODER.decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(_no_json(text, error)) from None


def _no_json(text: str, error: json.JSONDecodeError) -> str:
    hint = " (NUL bytes: UTF-16?)" if "\0" in text[:200] else ""
    return f"no JSON: {error.msg} at character {error.pos + 1}{hint}"


def not_utf8(data: bytes, at: int) -> str:
    """The reason of a record whose bytes are no UTF-8."""
    other = " (UTF-16?)" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} or b"\0" in data[:200] else ""
    return f"not UTF-8 at byte {at}{other}"


def encode_record(record: Any) -> bytes:
    """A value as compact JSON in UTF-8, the same bytes for the same value; unpaired surrogates become U+FFFD."""
    text = encode_text(record)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return without_surrogates(text).encode()


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for each unpaired surrogate, which JSON's escapes can write and UTF-8 cannot."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
