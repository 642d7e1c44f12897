"""`doc['field']` in a script: the values of one field of one document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final

from elastic_sandbox.painless.errors import ScriptThrow

NO_VALUE: Final = (
    "A document doesn't have a value for a field! Use doc[<field>].size()==0 to check if a document is missing a field!"
)


class DocValues(list[Any]):
    """The values of a field, in the order doc values have; a class for each kind of values, as in Java."""

    java_class: ClassVar[str]


def _class(name: str) -> type[DocValues]:
    return type(name, (DocValues,), {"java_class": f"org.elasticsearch.index.fielddata.ScriptDocValues.{name}"})


CLASSES: Final = {
    "boolean": _class("Booleans"),
    "date": _class("Dates"),
    "double": _class("Doubles"),
    "ip": _class("Strings"),
    "keyword": _class("Strings"),
    "long": _class("Longs"),
}
"""By the kind of a field's values."""


def first(values: DocValues) -> Any:
    """`value`: the first one, which must be there."""
    if not values:
        raise ScriptThrow("illegal_state_exception", NO_VALUE)
    return values[0]


def at(values: DocValues, index: Any) -> Any:
    """`get(index)`, and `doc['field'][index]`."""
    if not values:
        raise ScriptThrow("illegal_state_exception", NO_VALUE)
    if not isinstance(index, int) or not 0 <= index < len(values):
        raise ScriptThrow("index_out_of_bounds_exception", f"Index {index} out of bounds for length {len(values)}")
    return values[index]


def _unmodifiable(*_: Any) -> Any:
    raise ScriptThrow("unsupported_operation_exception", "doc values are unmodifiable")


METHODS: Final[dict[str, Callable[..., Any]]] = {
    "get": at,
    "getLength": len,
    "getValue": first,
    "getValues": list,
    "isEmpty": lambda values: not values,
    "size": len,
    **dict.fromkeys(("add", "addAll", "clear", "remove", "set"), _unmodifiable),
}
"""What differs from a list's."""

Loader = Callable[["Doc"], DocValues]


class Doc:
    """`doc` of one document. `loaders` are the fields a script names; `mapped` says which there are.

    :param row: the values the loaders read
    :param chain: the runtime fields that are being evaluated, each for the one before
    """

    __slots__ = ("_loaded", "_loaders", "_mapped", "chain", "row")

    def __init__(
        self,
        loaders: dict[str, Loader],
        mapped: Callable[[str], bool],
        row: Any,
        chain: tuple[str, ...] = (),
    ) -> None:
        self._loaders = loaders
        self._mapped = mapped
        self._loaded: dict[str, DocValues] = {}
        self.row = row
        self.chain = chain

    def load(self, name: str) -> DocValues:
        """The values of a field.

        :raises ScriptThrow: there is no such field, or it has no doc values
        """
        found = self._loaded.get(name)
        if found is None:
            found = self._loaded[name] = self._loaders[name](self)
        return found

    def contains(self, name: Any) -> bool:
        """`containsKey`: whether the index has such a field."""
        return isinstance(name, str) and self._mapped(name)
