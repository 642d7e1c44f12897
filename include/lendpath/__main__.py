"""Data for people who only want data: `python -m lendpath generate --days 30 --out DIR`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from lendpath import feeds

_DEFAULT_START = date(2026, 9, 1)
_MOST_DAYS = 3660
_DESCRIPTION = """\
Make audit data of LendPath, a fictional mortgage lender: three trails that belong together, and verdicts.

  DIR/internal_audit/2026-09-01.ndjson   the loan application's own trail, one JSON object a line
  DIR/ping_one/2026-09-01.ndjson         PingOne activities, as its API returns them
  DIR/oracle_audit/2026-09-01.aud        Oracle audit records (or .ndjson with --oracle unified)
  DIR/verdicts/2026-09-01.ndjson         what reviewers decided on that day, late and not always right

Files are days in UTC; times inside are those of the events. No event says whether it did harm: verdicts do, and miss
some. The same seed gives the same bytes, one day alone or as part of a year. What is in the data: docs/data.md.
"""
_EXAMPLES = """\
examples:
  python -m lendpath generate --days 30 --out build/data
  python -m lendpath generate --days 365 --start 2025-01-01 --events-per-day 20000 --prevalence 0.005 --out build/year
  python -m lendpath generate --days 90 --sources internal_audit verdicts --seed 7 --out build/trail
  python -m lendpath names --out names.csv         which person is behind each e-mail address and login
"""
_Feed = Callable[..., Iterator[bytes]]


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lendpath",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="generate | names | card")
    generate = commands.add_parser(
        "generate",
        help="write days of data into a folder",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    generate.add_argument("--days", type=int, required=True, help=f"how many days, 1 to {_MOST_DAYS}")
    generate.add_argument("--out", type=Path, required=True, help="folder to write into; made if it is not there")
    generate.add_argument("--start", type=_day, default=_DEFAULT_START, help="first day (default %(default)s)")
    generate.add_argument("--seed", type=int, default=11, help="another seed, another company (default %(default)s)")
    generate.add_argument(
        "--events-per-day",
        type=int,
        default=4000,
        help="mean number of internal audit events; PingOne adds about 35 %%, Oracle 20 %% (default %(default)s)",
    )
    generate.add_argument(
        "--prevalence",
        type=float,
        default=0.015,
        help="share of events that do harm, 0.001 to 0.05 (default %(default)s)",
    )
    generate.add_argument(
        "--verdict-delay",
        type=float,
        default=40.0,
        metavar="HOURS",
        help="the slowest verdict, more than 6 and at most 720 (default %(default)s)",
    )
    generate.add_argument("--oracle", choices=("aud", "unified"), default="aud", help="form of Oracle's records")
    generate.add_argument("--sources", nargs="+", choices=_SOURCES, default=list(_SOURCES), help="only these")
    names = commands.add_parser("names", help="write the name table (CSV: raw name, person, time zone)")
    names.add_argument("--out", type=Path, required=True, help="file to write")
    card = commands.add_parser("card", help="draw the pictures of the data card, docs/data.md")
    card.add_argument("--out", type=Path, default=Path("docs/images"), help="folder for the SVGs (default %(default)s)")
    options = parser.parse_args(arguments)
    try:
        if options.command == "generate":
            _generate(options)
        elif options.command == "names":
            _write(options.out, names_csv())
        else:
            from lendpath.card import draw_card

            _say(f"wrote {', '.join(str(path) for path in draw_card(options.out))}\n")
    except ValueError as problem:
        parser.error(str(problem))
    except OSError as problem:
        parser.exit(1, f"python -m lendpath: {problem.filename or options.out}: {problem.strerror}\n")
    except KeyboardInterrupt:
        parser.exit(
            130, "\nInterrupted. What is there is complete, day by day; the same command goes on from the start.\n"
        )
    return 0


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; write it as 2026-09-01") from None


def names_csv() -> Iterator[bytes]:
    """Yield the lines of the name table, which is the same for every seed."""
    from lendpath.people import directory

    for row in directory().name_table():
        yield (",".join(row) + "\n").encode()


_SOURCES = ("internal_audit", "ping_one", "oracle_audit", "verdicts")


def _generate(options: argparse.Namespace) -> None:
    if not 1 <= options.days <= _MOST_DAYS:
        raise ValueError(f"--days {options.days} is out of range: from 1 to {_MOST_DAYS}")
    years = range(2015, 2036)
    if options.start.year not in years or options.start + timedelta(days=min(options.days, 10_000)) > date(2036, 1, 1):
        raise ValueError(f"--start {options.start}: LendPath's years are 2015 to 2035")
    began, written = time.monotonic(), 0
    for number in range(options.days):
        day = options.start + timedelta(days=number)
        for name in options.sources:
            written += _write_day(options, name, day)
        _progress(number + 1, options.days, written, began)


def _write_day(options: argparse.Namespace, name: str, day: date) -> int:
    feed: _Feed = getattr(feeds, name)
    ending, separator = ("aud", b"\n") if name == "oracle_audit" else ("ndjson", b"\n")
    parameters = {"seed": options.seed, "events_per_day": options.events_per_day, "prevalence": options.prevalence}
    if name == "verdicts":
        parameters["longest_delay_hours"] = options.verdict_delay
    if name == "oracle_audit" and options.oracle == "unified":
        feed, ending = feeds.oracle_unified, "ndjson"
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    counted = 0

    def lines() -> Iterator[bytes]:
        nonlocal counted
        for record in feed(start, start + timedelta(days=1), **parameters):
            counted += 1
            yield record + separator

    _write(options.out / name / f"{day}.{ending}", lines())
    return counted


def _write(path: Path, lines: Iterator[bytes]) -> None:
    """Write a file at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.writelines(lines)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _progress(done: int, days: int, records: int, began: float) -> None:
    seconds = time.monotonic() - began
    line = f"{done} of {days} days, {records:,} records, {records / max(seconds, 1e-9):,.0f} a second"
    if sys.stderr.isatty():
        _say(f"\r{line}   " + ("\n" if done == days else ""))
    elif done == days or done % max(1, days // 10) == 0:
        _say(line + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
