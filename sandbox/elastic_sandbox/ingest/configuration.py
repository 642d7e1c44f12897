"""The configuration of one processor, read the way the server reads it: option by option, with its words.

Every reader takes its option out. What is left when the factory is done are options nobody knows, and the pipeline is
refused naming them.
"""

from __future__ import annotations

from typing import Any, Final

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ingest.document import java_type
from elastic_sandbox.ingest.templates import Template, ValueSource

REQUIRED: Final[Any] = object()
_MEDIA_TYPES: Final = ("application/json", "text/plain", "application/x-www-form-urlencoded")


def configuration_error(
    reason: str, *, processor_type: str | None = None, tag: str | None = None, property_name: str | None = None
) -> ElasticError:
    """400 `parse_exception` about a pipeline's definition."""
    metadata = {"processor_type": processor_type, "processor_tag": tag, "property_name": property_name}
    message = reason if property_name is None else f"[{property_name}] {reason}"
    known: dict[str, Any] = {name: value for name, value in metadata.items() if value is not None}
    return ElasticError(400, "parse_exception", message, **known)


class Config(dict[str, Any]):
    """The options of a processor, or of a whole pipeline (`type` None); a dict whose readers pop.

    All readers raise 400 `parse_exception`: `required property is missing` when an option without a default is absent
    or null, `property isn't a string, but of type [...]` when it has the wrong type.
    """

    def __init__(
        self, values: dict[str, Any], processor_type: str | None = None, tag: str | None = None, pipeline_id: str = ""
    ) -> None:
        super().__init__(values)
        self.type = processor_type
        self.tag = tag
        self.pipeline_id = pipeline_id

    def error(self, property_name: str | None, reason: str) -> ElasticError:
        """The error to raise about one option, or about the processor as a whole."""
        return configuration_error(reason, processor_type=self.type, tag=self.tag, property_name=property_name)

    def _take(self, name: str, default: Any) -> Any:
        value = self.pop(name, None)
        if value is not None:
            return value
        if default is REQUIRED:
            raise self.error(name, "required property is missing")
        return default

    def _typed(self, name: str, default: Any, kind: type, word: str) -> Any:
        value = self._take(name, default)
        if value is default or isinstance(value, kind):
            return value
        raise self.error(name, f"property isn't a {word}, but of type [{java_type(value)}]")

    def string(self, name: str, default: Any = REQUIRED) -> Any:
        """A string; `default=None` makes it optional."""
        return self._typed(name, default, str, "string")

    def boolean(self, name: str, default: bool = False) -> bool:
        """A boolean."""
        value = self._take(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"property isn't a boolean, but of type [{java_type(value)}]")
        return value

    def integer(self, name: str, default: Any = REQUIRED) -> Any:
        """An int, also when written as a string of digits."""
        value = self._take(name, default)
        if value is default:
            return value
        try:
            if isinstance(value, bool):
                raise ValueError("a boolean is no int")  # noqa: TRY004 - reported below like any other text
            return int(str(value))
        except ValueError:
            raise self.error(name, f"property cannot be converted to an int [{value}]") from None

    def number(self, name: str, default: Any = REQUIRED) -> Any:
        """A float, from a number or its text."""
        value = self._take(name, default)
        if value is default:
            return value
        try:
            return float(str(value))
        except ValueError:
            raise self.error(name, f"property cannot be converted to a double [{value}]") from None

    def array(self, name: str, default: Any = REQUIRED) -> Any:
        """A list."""
        return self._typed(name, default, list, "list")

    def map(self, name: str, default: Any = REQUIRED) -> Any:
        """An object."""
        return self._typed(name, default, dict, "map")

    def strings(self, name: str) -> list[str]:
        """A string or a list of strings, as a list."""
        value = self._take(name, REQUIRED)
        return [str(item) for item in value] if isinstance(value, list) else [str(value)]

    def value(self, name: str, default: Any = REQUIRED) -> Any:
        """Any JSON value."""
        return self._take(name, default)

    def template(self, name: str, default: Any = REQUIRED) -> Any:
        """A string that may hold mustache fields, as a `Template`; the default is given back as it is."""
        value = self._take(name, default)
        if value is default:
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.error(name, f"property isn't a string or int, but of type [{java_type(value)}]")
        return Template(value)

    def value_source(self, name: str) -> ValueSource:
        """Any JSON value whose strings may hold mustache fields; `media_type` decides how they are escaped."""
        media_type = self.string("media_type", "application/json")
        if media_type not in _MEDIA_TYPES:
            raise self.error("media_type", f"property does not contain a supported media type [{media_type}]")
        if media_type == "application/x-www-form-urlencoded":
            raise unsupported(f"media_type [{media_type}] of processor [{self.type}]")
        return ValueSource(self._take(name, REQUIRED), escape=media_type == "application/json")

    def refuse_leftovers(self) -> None:
        """Raise the server's error when options are left that no reader took."""
        if self:
            raise self.error(
                None,
                f"processor [{self.type}] doesn't support one or more provided configuration parameters "
                f"[{', '.join(self)}]",
            )
