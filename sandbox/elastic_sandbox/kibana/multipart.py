"""Reading `multipart/form-data`, as far as an upload of one file needs it."""

from __future__ import annotations

import re
from email.message import Message

from elastic_sandbox.kibana.errors import bad_request

Part = tuple[str | None, bytes]
"""File name, where there is one, and content."""


def parts(content_type: str, body: bytes) -> dict[str, Part]:
    """The fields of a form by name.

    :raises KibanaError: 400 for a body that is no such form
    """
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise bad_request("Invalid multipart payload format: missing boundary")
    found: dict[str, Part] = {}
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise bad_request("Invalid multipart payload format")
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        disposition = Message()
        match = re.search(rb"content-disposition:\s*(.+)", head, re.IGNORECASE)
        if match is None:
            raise bad_request("Invalid multipart payload format")
        disposition["content-disposition"] = match[1].decode(errors="replace").strip()
        name = disposition.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise bad_request("Invalid multipart payload format")
        found[name] = (disposition.get_filename(), content)
    return found
