"""The name table: which person is behind the names that directories, databases and hosts use."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elastic_ml.exceptions import IngestError
from elastic_ml.project.source import is_zone

UNRESOLVED = "unresolved:"
"""How the ``user.id`` of a name that no table holds begins: ``unresolved:<source>:<name>``."""

MOST_UNRESOLVED_NAMES = 1_000


class NameTable:
    """Raw name → person, from a file of the project folder.

    YAML or JSON: ``{raw: person}``, or ``{raw: {id: person, timezone: Europe/Berlin}}``; CSV: two columns, or three
    with the time zone. Names are compared without regard to case or surrounding spaces, as Oracle, Windows and
    directories do. A name that the table does not hold becomes ``unresolved:<source>:<name>``: it stays visible and
    countable, and is left out where people are joined across sources.

    :param people: raw name → person.
    :param zones: person → time zone.
    :ivar unresolved: records whose name the table did not hold.
    :ivar unresolved_names: those names and how often each came, the first thousand of them.
    """

    def __init__(self, source: str, people: Mapping[str, str], zones: Mapping[str, str] | None = None) -> None:
        self._source = source
        self._people = {raw.strip().casefold(): person for raw, person in people.items()}
        self._zones = dict(zones or {})
        self.unresolved = 0
        self.unresolved_names: dict[str, int] = {}

    @classmethod
    def read(cls, source: str, path: Path) -> NameTable:
        """Read the table; raises IngestError naming the file and what is wrong with it."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise IngestError(
                f"The name table {path} of the source {source} cannot be read ({error}).",
                remedy="Correct `names:` in the source file, or create the table.",
            ) from error
        return cls._of(source, path, _csv_entries(path, text) if path.suffix == ".csv" else _yaml_entries(path, text))

    @classmethod
    def _of(cls, source: str, path: Path, entries: Iterable[tuple[str, str, str | None]]) -> NameTable:
        people: dict[str, str] = {}
        zones: dict[str, str] = {}
        for raw, written, zone in entries:
            key, person = raw.strip().casefold(), written.strip()
            if not key or not person:
                raise _no_table(path)
            if people.setdefault(key, person) != person:
                raise IngestError(
                    f"The name table {path} gives {raw!r} to two people, {people[key]} and {person}.",
                    remedy="Keep one line; names differ in more than case and surrounding spaces.",
                )
            if zone is not None:
                if not is_zone(zone):
                    raise IngestError(
                        f"The name table {path} gives {person} the time zone {zone!r}, which does not exist.",
                        remedy="Write an IANA name or an offset, as in Europe/Berlin or +01:00.",
                    )
                if zones.setdefault(person, zone) != zone:
                    raise IngestError(
                        f"The name table {path} gives {person} two time zones, {zones[person]} and {zone}.",
                        remedy="Keep one of them.",
                    )
        return cls(source, people, zones)

    def person(self, raw: str) -> str:
        """The person behind a raw name."""
        person = self._people.get(raw.strip().casefold())
        if person is not None:
            return person
        self.unresolved += 1
        seen = self.unresolved_names.get(raw)
        if seen is not None or len(self.unresolved_names) < MOST_UNRESOLVED_NAMES:
            self.unresolved_names[raw] = (seen or 0) + 1
        return f"{UNRESOLVED}{self._source}:{raw}"

    def first_person(self, names: list[str]) -> str:
        """The person behind the first of several names that is in the table; else the first name, unresolved."""
        for name in names:
            person = self._people.get(name.strip().casefold())
            if person is not None:
                return person
        return self.person(names[0])

    def zone(self, person: object) -> str | None:
        """The time zone of a person, None when the table says none."""
        return self._zones.get(person) if isinstance(person, str) else None


def _csv_entries(path: Path, text: str) -> Iterable[tuple[str, str, str | None]]:
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1)
    while True:
        try:
            number, row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise IngestError(
                f"The name table {path} is no valid CSV: {error}.",
                remedy='Close every quote, and double the quotes inside of quoted names, as in "Ana ""Nell"" Lind".',
            ) from None
        if not row:
            continue
        if len(row) not in {2, 3} or not all(cell.strip() for cell in row[:2]):
            raise IngestError(
                f"Row {number} of the name table {path} has not two or three columns with values.",
                remedy="Write `raw name,person` or `raw name,person,time zone` in each row.",
            )
        yield row[0], row[1], (row[2].strip() or None) if len(row) == 3 else None


def _yaml_entries(path: Path, text: str) -> Iterable[tuple[str, str, str | None]]:
    import yaml

    from elastic_ml.project.yaml_nodes import CONSTRUCTION_ERRORS

    try:
        loader = yaml.SafeLoader(text)
        table = loader.get_single_node()
        if table is None:
            return
        if not isinstance(table, yaml.MappingNode):
            raise _no_table(path)
        loader.flatten_mapping(table)
        # Names as they are written: YAML takes 007123 for the number 3667 and `no` for a boolean, and of two lines with
        # the same name it keeps the last.
        for name, node in table.value:
            if not isinstance(name, yaml.ScalarNode):
                raise _no_table(path)
            yield (name.value, *_entry(path, loader.construct_object(node, deep=True)))
    except (yaml.YAMLError, *CONSTRUCTION_ERRORS) as error:
        raise IngestError(f"The name table {path} is no valid YAML: {error}", remedy="Correct that line.") from error


def _entry(path: Path, entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if not isinstance(entry, dict) or set(entry) - {"id", "timezone"} or not isinstance(entry.get("id"), str):
        raise _no_table(path)
    zone = entry.get("timezone")
    if zone is not None and not isinstance(zone, str):
        raise _no_table(path)
    return entry["id"], zone


def _no_table(path: Path) -> IngestError:
    return IngestError(
        f"The name table {path} is no mapping of names to people.",
        remedy='Write lines such as `SCOTT: ana.lind`, or `SCOTT: {id: ana.lind, timezone: "Europe/Berlin"}`.',
    )
