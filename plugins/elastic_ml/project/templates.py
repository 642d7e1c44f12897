"""Bodies sent to Elasticsearch: Jinja templates of JSON or YAML, the project folder's before the package's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project.durations import print_duration
from elastic_ml.project.yaml_nodes import CONSTRUCTION_ERRORS, YAML_LOADER, file_error, not_utf8

if TYPE_CHECKING:
    from jinja2 import Environment


class Templates:
    """Renders `<name>` from `<project folder>/templates/` or from the package's own templates.

    `globals` are the variables every template sees (`names`, `project`); those given to `render` come on top.
    """

    def __init__(self, folder: Path, variables: Mapping[str, Any]) -> None:
        self._folder = folder / "templates"
        self._variables = dict(variables)
        self._environment: Environment | None = None
        self.rendered: set[str] = set()
        """Names of the templates that were rendered so far."""

    def render(self, name: str, **variables: Any) -> dict[str, Any]:
        """Render a template (`ilm/audit.json.j2`, or `.yml.j2`) and read the body.

        Raises ProjectFileError naming template, line and the undefined variable, or the line that is no JSON.
        """
        text = self.render_text(name, **variables)
        try:
            body = _read_yaml(text) if name.endswith((".yml.j2", ".yaml.j2")) else json.loads(text)
        except ValueError as error:
            line = getattr(error, "lineno", 0)
            written = text.splitlines()[line - 1].strip() if 0 < line <= len(text.splitlines()) else ""
            raise file_error(
                self._origin(name),
                None,
                "",
                f"renders to invalid JSON or YAML in rendered line {line} ({written!r}): {error}",
                "check commas, brackets and `tojson` around rendered values",
            ) from error
        if not isinstance(body, dict):
            raise file_error(self._origin(name), 1, "", "the template renders no object", "start the body with {")
        return body

    def render_text(self, name: str, **variables: Any) -> str:
        """Render a template to text."""
        from jinja2 import TemplateError, TemplateNotFound

        self.rendered.add(name)
        try:
            return self._jinja().get_template(name).render({**self._variables, **variables})
        except TemplateNotFound as missing:
            raise file_error(
                self._folder / name,
                None,
                "",
                f"template {missing.name} is neither in {self._folder} nor in the package",
                "check the template's name",
            ) from None
        except UnicodeDecodeError as error:
            raise self._unreadable() or self._as_file_error(name, error) from error
        except (TemplateError, *CONSTRUCTION_ERRORS) as error:
            raise self._as_file_error(name, error) from error

    def names(self) -> list[str]:
        """Every template that can be rendered, the project's and the package's."""
        return self._jinja().list_templates(filter_func=lambda name: name.endswith(".j2"))

    def own(self) -> list[str]:
        """The templates in the project folder."""
        files = (path for path in self._folder.rglob("*.j2") if path.is_file())
        return sorted(path.relative_to(self._folder).as_posix() for path in files)

    def _unreadable(self) -> ProjectFileError | None:
        """What is said of the first of the project's templates that is no UTF-8."""
        for name in self.own():
            try:
                (self._folder / name).read_bytes().decode("utf-8")
            except UnicodeDecodeError as error:
                return not_utf8(self._folder / name, error)
        return None

    def check(self, name: str) -> None:
        """Read a template of the project folder without rendering it.

        Raises ProjectFileError for what is no Jinja, and for a variable that the package's own template of that name
        is not given.
        """
        from jinja2 import TemplateSyntaxError
        from jinja2.meta import find_undeclared_variables

        try:
            text = (self._folder / name).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(self._folder / name, error) from None
        try:
            asked = find_undeclared_variables(self._jinja().parse(text, name))
        except TemplateSyntaxError as error:
            raise self._as_file_error(name, error) from error
        given = {*self._variables, *self._given(name)}
        for variable in sorted(asked - given):
            lines = text.splitlines()
            line = next((at for at, one in enumerate(lines, 1) if re.search(rf"\b{variable}\b", one)), None)
            raise file_error(
                self._folder / name,
                line,
                variable,
                f"'{variable}' is not given to this template",
                f"use {', '.join(sorted(given))}",
            )

    def _given(self, name: str) -> set[str]:
        """The variables of the package's template, and of those that it includes."""
        from jinja2.meta import find_referenced_templates, find_undeclared_variables

        path = resources.files("elastic_ml") / "templates" / name
        if not path.is_file():
            return set()
        tree = self._jinja().parse(path.read_text(encoding="utf-8"), name)
        inner = (self._given(one) for one in find_referenced_templates(tree) if one)
        return find_undeclared_variables(tree).union(*inner)

    def _jinja(self) -> Environment:
        if self._environment is None:
            from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

            package = str(resources.files("elastic_ml") / "templates")
            self._environment = Environment(
                loader=ChoiceLoader([FileSystemLoader(self._folder), FileSystemLoader(package)]),
                undefined=StrictUndefined,
                autoescape=False,  # noqa: S701 - the output is JSON for Elasticsearch, never HTML
                trim_blocks=True,
                lstrip_blocks=True,
            )
            self._environment.filters["duration"] = print_duration
            self._environment.filters["tojson"] = _dumps  # Jinja's own escapes <, > and & for HTML
        return self._environment

    def _origin(self, name: str) -> str:
        mine = self._folder / name
        return str(mine) if mine.exists() else f"elastic_ml/templates/{name}"

    def _as_file_error(self, name: str, error: Exception) -> ProjectFileError:
        from jinja2 import TemplateSyntaxError, UndefinedError

        if isinstance(error, TemplateSyntaxError):
            origin = self._origin(error.name or name)
            return file_error(origin, error.lineno, "", error.message or str(error), "correct the template")
        template: str = name
        line: int | None = None
        step = error.__traceback__
        while step is not None:  # Jinja rewrites the traceback so that its frames carry template lines
            filename = step.tb_frame.f_code.co_filename
            if filename.endswith(".j2"):
                template, line = _relative(filename), step.tb_lineno
            step = step.tb_next
        message = "the template includes itself" if isinstance(error, RecursionError) else str(error)
        if isinstance(error, UndefinedError):
            found = re.search(r"'([^']+)' is undefined|has no attribute '([^']+)'", message)
            field = next((group for group in found.groups() if group), "") if found else ""
            return file_error(
                self._origin(template),
                line,
                field,
                message,
                "pass the variable, or correct its name in the template",
            )
        return file_error(self._origin(template), line, "", message, "correct the template")


def _relative(filename: str) -> str:
    return filename.rpartition("/templates/")[2]


def _read_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=YAML_LOADER)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, *CONSTRUCTION_ERRORS) as error:
        raise ValueError(str(error)) from error


def _dumps(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_refuse)


def _refuse(value: Any) -> str:
    str(value)  # an undefined variable raises UndefinedError here, which names it
    raise TypeError(f"{type(value).__name__} cannot be rendered as JSON")
