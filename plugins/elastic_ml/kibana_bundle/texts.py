"""Puts the project's names into the texts of an asset file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from elastic_ml.project.yaml_files import file_error, line_of_key

Marks = Literal["{{", "[["]
"""`[[ ]]` stands where `{{ }}` is Kibana's own: what a connector is told is put together when an alert opens."""


def put_in(path: Path, value: Any, variables: Mapping[str, Any], *, marks: Marks = "{{", place: tuple = ()) -> Any:
    """Return a file's content with every text rendered; a text that is one expression keeps its type.

    :raises ProjectFileError: a text names what there is not; with file, line and field.
    """
    if isinstance(value, dict):
        return {key: put_in(path, one, variables, marks=marks, place=(*place, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [put_in(path, one, variables, marks=marks, place=(*place, at)) for at, one in enumerate(value)]
    if not isinstance(value, str) or marks[0] not in value:
        return value
    from jinja2 import TemplateError

    try:
        return _rendered(value, variables, marks)
    except (TemplateError, TypeError) as error:
        raise file_error(
            path,
            line_of_key(path, *place),
            ".".join(map(str, place)),
            str(error),
            f"correct the name; there are {', '.join(sorted(variables))}",
        ) from error


def _rendered(text: str, variables: Mapping[str, Any], marks: Marks) -> Any:
    from jinja2 import Environment, StrictUndefined

    begin, end = marks[0], "}" if marks == "{{" else "]"
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - ES|QL and Markdown, never HTML
        variable_start_string=2 * begin,
        variable_end_string=2 * end,
        block_start_string=f"{begin}%",
        block_end_string=f"%{end}",
        comment_start_string=f"{begin}#",
        comment_end_string=f"#{end}",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    inner = f"[^{re.escape(begin + end)}]+"
    alone = re.fullmatch(f"{re.escape(2 * begin)}({inner}){re.escape(2 * end)}", text.strip())
    if alone and (value := environment.compile_expression(alone[1], undefined_to_none=False)(**variables)) is not None:
        str(value)  # an undefined one raises here
        return value
    return environment.from_string(text).render(variables)
