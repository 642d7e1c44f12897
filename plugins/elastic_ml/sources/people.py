"""The name table: which person is behind the names that directories, databases and hosts use."""

from __future__ import annotations

import csv
from pathlib import Path

from elastic_ml.exceptions import IngestError


class NameTable:
    """Raw name → person, from a file of the project folder: YAML or JSON (``{raw: person}``) or CSV (two columns).

    Names are compared without regard to case or surrounding spaces, as Oracle, Windows and directories do. A name that
    the table does not hold becomes ``unresolved:<source>:<name>``: it stays visible and countable, and is left out
    where people are joined across sources.
    """

    def __init__(self, source: str, people: dict[str, str]) -> None:
        self._source = source
        self._people = {raw.strip().casefold(): person for raw, person in people.items()}
        self.unresolved = 0

    @classmethod
    def read(cls, source: str, path: Path) -> NameTable:
        """Read the table; raises IngestError naming the file and what is wrong with it."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise IngestError(
                f"The name table {path} of the source {source} cannot be read ({error}).",
                remedy="Correct `names:` in the source file, or create the table.",
            ) from error
        if path.suffix == ".csv":
            rows = [row for row in csv.reader(text.splitlines()) if row]
            bad = next((number for number, row in enumerate(rows, 1) if len(row) != 2), None)
            if bad is not None:
                raise IngestError(
                    f"Row {bad} of the name table {path} has not two columns.",
                    remedy="Write `raw name,person` in each row.",
                )
            return cls(source, dict(rows))
        import yaml

        try:
            people = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise IngestError(
                f"The name table {path} is no valid YAML: {error}", remedy="Correct that line."
            ) from error
        if not isinstance(people, dict) or not all(isinstance(person, str) for person in people.values()):
            raise IngestError(
                f"The name table {path} is no mapping of names to people.",
                remedy="Write lines such as `SCOTT: ana.lind`.",
            )
        return cls(source, {str(raw): person for raw, person in people.items()})

    def person(self, raw: str) -> str:
        """The person behind a raw name."""
        person = self._people.get(raw.strip().casefold())
        if person is None:
            self.unresolved += 1
            return f"unresolved:{self._source}:{raw}"
        return person

    def first_person(self, names: list[str]) -> str:
        """The person behind the first of several names that is in the table; else the first name, unresolved."""
        for name in names:
            person = self._people.get(name.strip().casefold())
            if person is not None:
                return person
        return self.person(names[0])
