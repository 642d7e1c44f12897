"""The example of docs/reference/training.md, run where the same training was done before: it finds everything."""

from pathlib import Path

from clinic.world import DAY, Clinic, ClinicApi
from harness.reference_pages import examples, run_example


def test_the_example_of_training_runs_and_trains_nothing_twice(trained: Clinic, tmp_path: Path) -> None:
    (tmp_path / "include").symlink_to(trained.folder)
    trained.ingested()
    [block] = examples("training")
    file = tmp_path / "dags" / "example.py"
    told = run_example(block, trained.sandbox, file=file, conf={"day": f"{DAY}"}, api=ClinicApi)
    assert told["train"]["model_id"] == told["evaluate"]["model_id"] == told["candidate"]["model_id"]
    assert told["candidate"]["model_id"] == trained.model_id
