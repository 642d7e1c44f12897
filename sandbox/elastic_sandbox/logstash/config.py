"""Logstash's configuration language, read as Logstash reads it: text in, plugins and branches with their lines out.

The grammar is `lscl_grammar.treetop` of elastic/logstash, a PEG: the first alternative that fits wins. Two traps are
kept: `["a"]` in a condition is a reference to the field `"a"` and no list, since selectors are tried before arrays; and
strings keep their backslashes, since `config.support_escapes` is off unless a pipeline turns it on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Section = Literal["input", "filter", "output"]
SECTIONS: tuple[Section, ...] = ("input", "filter", "output")

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*\r?\n)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BAREWORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]+")
_STRING = re.compile(r"\"(?:\\\"|[^\"])*\"|'(?:\\'|[^'])*'")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]*)?")
_REGEXP = re.compile(r"/(?:\\/|[^/])*/")
_SELECTOR = re.compile(r"(?:\[[^\]\[,]+\])+")
_COMPARE = re.compile(r"==|!=|<=|>=|<|>")
_NOT_IN = re.compile(r"not (?:[ \t\r\n]|#[^\r\n]*\r?\n)*in")


class ConfigError(Exception):
    """A configuration that Logstash would not start with; the message is a sentence with file, line and remedy."""


@dataclass(frozen=True)
class Regexp:
    """A regular expression between slashes."""

    pattern: str


@dataclass(frozen=True)
class Selector:
    """A reference to a field in a condition."""

    reference: str


class Condition(NamedTuple):
    """An operator and what it is applied to: values, or further conditions under `and`, `or` and `not`."""

    operator: str
    operands: tuple[Any, ...]


@dataclass(frozen=True)
class Plugin:
    """A plugin with its settings as written: repeated ones merged, environment variables not yet replaced."""

    section: Section
    name: str
    settings: dict[str, Any]
    file: str
    line: int

    @property
    def place(self) -> str:
        """File and line, for a person."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Branch:
    """`if`, `else if`, `else`: conditions in order, None for the last; with the body of each."""

    arms: tuple[tuple[Condition | None, tuple[Plugin | Branch, ...]], ...]
    file: str
    line: int


Statement = Plugin | Branch


def parse(text: str, file: str) -> dict[Section, tuple[Statement, ...]]:
    """The statements of each section, in order; several sections of a kind are one after the other.

    :raises ConfigError: it is no configuration, or one that Logstash's compiler refuses.
    """
    return _Parser(text, file).config()


def plugins(statements: tuple[Statement, ...]) -> Iterator[Plugin]:
    """Every plugin, whatever branch it stands in."""
    for statement in statements:
        if isinstance(statement, Plugin):
            yield statement
        else:
            for _, body in statement.arms:
                yield from plugins(body)


class _Parser:
    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.at = 0
        self.section: Section = "input"

    def config(self) -> dict[Section, tuple[Statement, ...]]:
        found: dict[Section, tuple[Statement, ...]] = dict.fromkeys(SECTIONS, ())
        self.space()
        while self.at < len(self.text):
            section = next((name for name in SECTIONS if self.text.startswith(name, self.at)), None)
            if section is None:
                raise self.error("input, filter or output is expected here")
            self.section = section
            self.at += len(section)
            found[section] += self.body()
            self.space()
        return found

    # What a section and a branch hold.

    def body(self) -> tuple[Statement, ...]:
        self.expect("{")
        statements: list[Statement] = []
        while not self.accept("}"):
            statements.append(self.branch() or self.plugin(self.name()))
        return tuple(statements)

    def branch(self) -> Branch | None:
        start = self.at
        if not self.word("if"):
            return None
        try:
            condition = self.condition()
        except ConfigError:
            self.at = start  # a plugin that is called so
            if _NAME.match(self.text, start).group() != "if":  # type: ignore[union-attr]
                return None
            raise
        arms: list[tuple[Condition | None, tuple[Statement, ...]]] = [(condition, self.body())]
        while True:
            before = self.at
            self.space()
            if not self.word("else"):
                self.at = before
                break
            self.space()
            if self.word("if"):
                arms.append((self.condition(), self.body()))
            else:
                arms.append((None, self.body()))
                break
        return Branch(tuple(arms), self.file, self.line(start))

    def plugin(self, name: str) -> Plugin:
        line = self.line(self.at)
        self.expect("{")
        settings: dict[str, Any] = {}
        while not self.accept("}"):
            if settings and not self.text[self.at - 1].isspace() and self.text[self.at - 1] != "\n":
                raise self.error("white space is expected between two settings")
            key = self.name()
            self.expect("=>")
            self.space()
            _merge(settings, key, self.value(), lambda problem: self.error(f"{name}: {problem}"))
            self.space()
        codec = settings.get("codec")
        if self.section != "filter" and isinstance(codec, list):
            raise self.error(f"{name}: several codecs are given; keep one")
        return Plugin(self.section, name, settings, self.file, line)

    def name(self) -> str:
        if found := self.take(_STRING):
            return found[1:-1]
        if found := self.take(_NAME):
            return found
        raise self.error("a name is expected here")

    # Values of settings.

    def value(self) -> Any:
        start = self.at
        if name := self.take(_NAME) or self.take(_STRING):  # `codec => line { ... }`
            self.space()
            if self.text.startswith("{", self.at):
                return self.plugin(name.strip("\"'"))
            self.at = start
        if found := self.take(_BAREWORD):
            return found
        if found := self.take(_STRING):
            return found[1:-1]
        if found := self.take(_NUMBER):
            return float(found) if "." in found else int(found)
        if self.text.startswith("[", self.at):
            return self.array(self.value)
        if self.text.startswith("{", self.at):
            return self.hash()
        raise self.error("a value is expected here: a string, number, array, hash or word")

    def array(self, item: Callable[[], Any]) -> list[Any]:
        self.expect("[")
        items: list[Any] = []
        while not self.accept("]"):
            if items:
                self.expect(",")
                self.space()
            items.append(item())
            self.space()
        return items

    def hash(self) -> dict[Any, Any]:
        self.expect("{")
        entries: dict[Any, Any] = {}
        while not self.accept("}"):
            if found := self.take(_STRING):
                key: Any = found[1:-1]
            elif found := self.take(_NUMBER):
                key = float(found) if "." in found else int(found)
            elif found := self.take(_BAREWORD):
                key = found
            else:
                raise self.error("a key is expected here: a string, number or word of two letters at least")
            if key in entries:
                raise self.error(f"the key {key!r} is there twice; Logstash refuses duplicate keys")
            self.expect("=>")
            self.space()
            entries[key] = self.value()
            self.space()
        return entries

    # Conditions. `and` binds stronger than `or` (lscl.rb, precedence); xor and nand parse and then fail there.

    def condition(self) -> Condition:
        alternatives: list[list[Condition]] = [[self.expression()]]
        while True:
            before = self.at
            self.space()
            if self.word("and"):
                self.space()
                alternatives[-1].append(self.expression())
            elif self.word("or"):
                self.space()
                alternatives.append([self.expression()])
            elif self.word("xor") or self.word("nand"):
                raise self.error("xor and nand parse, but Logstash's compiler refuses them; write and, or, !( )")
            else:
                self.at = before
                break
        joined = [each[0] if len(each) == 1 else Condition("and", tuple(each)) for each in alternatives]
        return joined[0] if len(joined) == 1 else Condition("or", tuple(joined))

    def expression(self) -> Condition:
        self.space()
        if self.word("("):
            inner = self.condition()
            self.expect(")")
            return inner
        if self.word("!"):
            self.space()
            if self.word("("):
                inner = self.condition()
                self.expect(")")
                return Condition("not", (inner,))
            selector = self.take(_SELECTOR)
            if selector is None:
                raise self.error("after ! a field or a bracket is expected")
            return Condition("not", (Condition("truthy", (Selector(selector),)),))
        left = self.rvalue()
        before = self.at
        self.space()
        if self.word("in"):
            self.space()
            return Condition("in", (left, self.rvalue()))
        if self.take(_NOT_IN):
            self.space()
            return Condition("not", (Condition("in", (left, self.rvalue())),))
        operator = self.take(_COMPARE) if not self.text.startswith("=~", self.at) else None
        if operator:
            self.space()
            return Condition(operator, (left, self.rvalue()))
        if self.word("=~") or self.word("!~"):
            negated = self.text[self.at - 2] == "!"
            self.space()
            pattern = self.take(_REGEXP) or self.take(_STRING)
            if pattern is None:
                raise self.error("a regular expression or a string is expected here")
            matching = Condition("=~", (left, Regexp(pattern[1:-1])))
            return Condition("not", (matching,)) if negated else matching
        self.at = before
        return Condition("truthy", (left,))

    def rvalue(self) -> Any:
        if found := self.take(_STRING):
            return found[1:-1]
        if found := self.take(_NUMBER):
            return float(found) if "." in found else int(found)
        if found := self.take(_SELECTOR):
            return Selector(found)
        if self.text.startswith("[", self.at):
            return self.array(self.value)
        if found := self.take(_REGEXP):
            return Regexp(found[1:-1])
        raise self.error("a field in brackets, a string, a number or a list is expected here")

    # Characters.

    def space(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]

    def take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self.text, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found.group()

    def word(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def accept(self, mark: str) -> bool:
        self.space()
        return self.word(mark)

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.error(f"{mark} is expected here")

    def line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1

    def error(self, problem: str) -> ConfigError:
        rest = self.text[self.at : self.at + 30].split("\n")[0]
        found = f"before {rest!r}" if rest else "at the end of the file or line"
        return ConfigError(f"{self.file}:{self.line(self.at)}: {problem} ({found})")


def _merge(settings: dict[str, Any], key: str, value: Any, error: Callable[[str], ConfigError]) -> None:
    """A setting that is there twice: hashes become one, lists grow, two values become a list (lscl.rb)."""
    held = settings.get(key)
    if held is None:
        settings[key] = value
    elif isinstance(held, dict):
        if not isinstance(value, dict):
            raise error(f"{key} is a hash and something else")
        for name, item in value.items():
            held[name] = [*_listed(held[name]), *_listed(item)] if name in held else item
    elif isinstance(held, list):
        held.extend(_listed(value))
    elif held != value:
        settings[key] = [held, value]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
