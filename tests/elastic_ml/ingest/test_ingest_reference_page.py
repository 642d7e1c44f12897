"""The example of docs/reference/ingest.md, run on a small project."""

from typing import Any

from harness.reference_pages import examples, run_example


def test_the_example_of_ingest_runs(acme: Any) -> None:
    acme.deliver(acme.events(5))
    (acme.folder / "include").symlink_to(acme.folder)
    file = acme.folder / "dags" / "example.py"
    [block] = examples("ingest")
    told = run_example(block, acme.sandbox, file=file, partition_key=acme.day)
    assert told["ingest"]["trail"]["indexed"] == 5
    again = run_example(block, acme.sandbox, file=file, partition_key=acme.day)
    assert again["ingest"]["trail"]["duplicate"] == 5
    assert len(acme.ids()) == 5
