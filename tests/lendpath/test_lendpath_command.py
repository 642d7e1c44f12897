"""`python -m lendpath`: data as files, a name table, pictures; and how fast it is beside Faker."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from faker import Faker

from benchmarks import events as benchmark
from lendpath import feeds
from lendpath.__main__ import main
from lendpath.people import PEOPLE


def test_generate_writes_a_file_per_source_and_day_with_the_feeds_records(tmp_path, capsys):
    assert (
        main(["generate", "--days", "2", "--start", "2026-11-03", "--events-per-day", "500", "--out", str(tmp_path)])
        == 0
    )
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    assert written == [
        f"{source}/2026-11-0{day}.{ending}"
        for source, ending in (("internal_audit", "ndjson"), ("oracle_audit", "aud"), ("ping_one", "ndjson"),
                               ("verdicts", "ndjson"))
        for day in (3, 4)
    ]  # fmt: skip
    day = datetime(2026, 11, 3, tzinfo=UTC), datetime(2026, 11, 4, tzinfo=UTC)
    made = feeds.internal_audit(*day, events_per_day=500)
    assert (tmp_path / "internal_audit/2026-11-03.ndjson").read_bytes() == b"".join(line + b"\n" for line in made)
    assert "2 of 2 days" in capsys.readouterr().err


def test_an_audit_file_keeps_its_records_apart_by_blank_lines(tmp_path):
    main(["generate", "--days", "1", "--start", "2026-11-03", "--sources", "oracle_audit", "--out", str(tmp_path)])
    text = (tmp_path / "oracle_audit/2026-11-03.aud").read_text()
    assert text.count("\nLENGTH : '") == text.count("ACTION NUMBER:[") > 100
    assert text.count("'\n\n") == text.count("\nLENGTH : '")


def test_oracle_comes_as_rows_of_the_unified_trail_when_asked_for(tmp_path):
    main(["generate", "--days", "1", "--oracle", "unified", "--sources", "oracle_audit", "--out", str(tmp_path)])
    (path,) = tmp_path.rglob("*.ndjson")
    assert json.loads(path.read_text().splitlines()[0]).keys() >= {"DBUSERNAME", "ACTION_NAME", "EVENT_TIMESTAMP_UTC"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--days", "0"], "--days 0 is out of range"),
        (["--days", "2", "--prevalence", "0.5"], "prevalence=0.5 is out of range"),
        (["--days", "2", "--start", "yesterday"], "'yesterday' is no day"),
        (["--days", "2", "--start", "1999-01-01"], "LendPath's years are 2015 to 2035"),
        (["--days", "2", "--verdict-delay", "1"], "longest_delay_hours=1.0 is out of range"),
        (["--days", "two"], "invalid int value"),
        (["--days", "2", "--sources", "sap"], "invalid choice: 'sap'"),
    ],
)
def test_bad_input_ends_in_a_sentence(tmp_path, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        main(["generate", *arguments, "--events-per-day", "100", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_ends_in_a_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SystemExit) as stopped:
        main(["generate", "--days", "1", "--events-per-day", "100", "--out", str(tmp_path / "file")])
    assert stopped.value.code == 1
    assert "file" in capsys.readouterr().err


def test_an_interrupted_file_is_not_left_half_written(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        yield b"{}"
        raise KeyboardInterrupt

    monkeypatch.setattr(feeds, "ping_one", interrupted)
    with pytest.raises(SystemExit) as stopped:
        main(["generate", "--days", "1", "--events-per-day", "100", "--out", str(tmp_path)])
    assert stopped.value.code == 130
    assert [path.name for path in tmp_path.rglob("*.*")] == ["2026-09-01.ndjson"]


def test_the_name_table_can_be_written(tmp_path):
    main(["names", "--out", str(tmp_path / "names.csv")])
    assert len((tmp_path / "names.csv").read_text().splitlines()) == 2 * PEOPLE


def test_the_card_draws_its_pictures(tmp_path):
    main(["card", "--out", str(tmp_path)])
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"data-volume.svg", "data-prevalence.svg", "data-overlap.svg"}
    assert all(10_000 < size < 200_000 for size in sizes.values())


def test_events_come_a_hundred_times_as_fast_as_from_faker_and_raw_records_forty_times():
    plain = {name: benchmark.rate_of(make, Faker("en_US"), 250) for name, make in benchmark.FAKER.items()}
    drawn, raw, counts = benchmark.measure(1)
    total = sum(counts.values())
    faker, before, after = (total / sum(counts[n] / rates[n] for n in counts) for rates in (plain, drawn, raw))
    assert before > 100 * faker
    assert after > 40 * faker
