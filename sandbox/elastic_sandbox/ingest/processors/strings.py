"""Processors on text: lowercase, uppercase, trim, gsub, split, join."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from elastic_sandbox.ingest.document import IngestDocument, illegal, java_type
from elastic_sandbox.ingest.processors import EachProcessor, register
from elastic_sandbox.painless.values import to_string

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend
    from elastic_sandbox.ingest.configuration import Config


def cannot_cast(field: str, value: Any, wanted: str) -> Exception:
    """The server's complaint about a value of the wrong type."""
    return illegal(f"field [{field}] of type [{java_type(value)}] cannot be cast to [{wanted}]")


def java_regex(config: Config, name: str) -> re.Pattern[str]:
    """A Java regular expression as Python's; an invalid one is the server's configuration error."""
    source = config.string(name)
    translated = re.sub(r"\(\?<(?![=!])", "(?P<", source).replace(r"\p{Punct}", r"[!-/:-@\[-`{-~]")
    try:
        return re.compile(translated)
    except re.error as problem:
        raise config.error(name, f"Invalid regex pattern. {problem.msg} near index {problem.pos}\n{source}") from None


class StringProcessor(EachProcessor):
    """Base of the processors that turn a string, or every string of a list, into another value."""

    def __init__(self, _backend: Backend, config: Config) -> None:
        self.field: str = config.string("field")
        self.ignore_missing = config.boolean("ignore_missing")
        self.target: str = config.string("target_field", self.field)

    def convert(self, text: str) -> Any:
        """What becomes of one string."""
        raise NotImplementedError

    def process(self, document: IngestDocument) -> None:
        """Convert the field into the target."""
        value = document.find(self.field) if self.ignore_missing else document.get(self.field)
        if value is None:
            if self.ignore_missing:
                return
            raise illegal(f"field [{self.field}] is null, cannot process it.")
        if isinstance(value, list):
            document.set(self.target, [self._item(item) for item in value])
            return
        if not isinstance(value, str):
            raise cannot_cast(self.field, value, "java.lang.String")
        document.set(self.target, self.convert(value))

    def _item(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise illegal(
                f"value [{to_string(value)}] of type [{java_type(value)}] in list field [{self.field}] "
                "cannot be cast to [java.lang.String]"
            )
        return self.convert(value)


class LowercaseProcessor(StringProcessor):
    """`lowercase`."""

    type = "lowercase"

    def convert(self, text: str) -> str:
        """Lower case."""
        return text.lower()


class UppercaseProcessor(StringProcessor):
    """`uppercase`."""

    type = "uppercase"

    def convert(self, text: str) -> str:
        """Upper case."""
        return text.upper()


class TrimProcessor(StringProcessor):
    """`trim`: Java's trim, which takes everything up to the space."""

    type = "trim"

    def convert(self, text: str) -> str:
        """Without leading and trailing control characters and spaces."""
        return text.strip("".join(map(chr, range(33))))


class GsubProcessor(StringProcessor):
    """`gsub`: replace what a regular expression finds."""

    type = "gsub"

    def __init__(self, backend: Backend, config: Config) -> None:
        super().__init__(backend, config)
        self._pattern = java_regex(config, "pattern")
        replacement = config.string("replacement")
        # Java writes groups as $1 and ${name}, and escapes with a backslash.
        self._replacement = re.sub(
            r"\\(.)|\$(\d)|\$\{(\w+)\}",
            lambda found: re.escape(found[1]) if found[1] else rf"\g<{found[2] or found[3]}>",
            replacement,
        )

    def convert(self, text: str) -> str:
        """All matches replaced."""
        return self._pattern.sub(self._replacement, text)


class SplitProcessor(EachProcessor):
    """`split`: a string into a list."""

    type = "split"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: str = config.string("field")
        self._separator = java_regex(config, "separator")
        self._ignore_missing = config.boolean("ignore_missing")
        self._preserve_trailing = config.boolean("preserve_trailing")
        self._target: str = config.string("target_field", self._field)

    def process(self, document: IngestDocument) -> None:
        """Split; empty strings at the end go unless `preserve_trailing`."""
        value = document.find(self._field) if self._ignore_missing else document.get(self._field)
        if value is None:
            if self._ignore_missing:
                return
            raise illegal(f"field [{self._field}] is null, cannot split.")
        if not isinstance(value, str):
            raise cannot_cast(self._field, value, "java.lang.String")
        parts: list[str] = []
        end = 0
        for found in self._separator.finditer(value):
            if found.end() == 0:
                continue  # Java makes no empty leading part for a match of nothing at the start
            parts.append(value[end : found.start()])
            end = found.end()
        parts.append(value[end:])
        if not self._preserve_trailing:
            while len(parts) > 1 and not parts[-1]:
                parts.pop()
        document.set(self._target, parts)


class JoinProcessor(EachProcessor):
    """`join`: a list into one string."""

    type = "join"

    def __init__(self, _backend: Backend, config: Config) -> None:
        self._field: str = config.string("field")
        self._separator: str = config.string("separator")
        self._target: str = config.string("target_field", self._field)

    def process(self, document: IngestDocument) -> None:
        """Join the texts of the elements."""
        value = document.get(self._field)
        if value is None:
            raise illegal(f"field [{self._field}] is null, cannot join.")
        if not isinstance(value, list):
            raise cannot_cast(self._field, value, "java.util.List")
        document.set(self._target, self._separator.join(to_string(item) for item in value))


register("lowercase", LowercaseProcessor)
register("uppercase", UppercaseProcessor)
register("trim", TrimProcessor)
register("gsub", GsubProcessor)
register("split", SplitProcessor)
register("join", JoinProcessor)
