"""The examples of docs/reference/trained-models.md, run on a clinic with a champion and the one before it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from clinic.lifecycle import InProduction
from clinic.world import DAY, ClinicApi
from harness.reference_pages import examples, run_example

APPROVED = {
    "chosen_options": ["Approve"],
    "params_input": {},
    "responded_at": datetime(2026, 6, 30, 10, tzinfo=UTC),
    "responded_by_user": {"id": "ben", "name": "ben"},
    "timedout": False,
}
OUTLIERS = """
owner: privacy
source: {index: [logs-clinic.access-eu]}
windows: {train: 7d}
features: [audit.records, audit.distance]
analysis: {outlier_detection: {compute_feature_influence: true}}
"""


def test_the_examples_of_trained_models_run(
    production: InProduction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic, names = production.clinic, production.clinic.names
    (clinic.folder / "models" / "odd_accesses.yml").write_text(OUTLIERS)
    (tmp_path / "include").symlink_to(clinic.folder)
    monkeypatch.setenv("AIRFLOW__ELASTIC_ML__EXCHANGE_FOLDER", f"file://{tmp_path}/exchange/")
    back, decide, rescore, export, take_in, outliers = examples("trained-models")

    def run(block: str, **conf: Any) -> dict[str, Any]:
        file = tmp_path / "dags" / "example.py"
        return run_example(block, clinic.sandbox, file=file, conf=conf, api=ClinicApi, answer=APPROVED)

    assert run(back)["back"]["model_id"] == production.old == clinic.champion()

    production.judged(production.new)
    assert run(decide, model_id=production.new)["switch"]["approved_by"] == "ben"
    assert clinic.champion() == production.new

    scored = run(rescore, until=f"{DAY}")["rescore"]
    assert scored["documents"] == scored["created"] > 0

    told = run(export, model_id=production.old)["export"]
    clinic.client.ml.delete_trained_model_alias(model_id=production.old, model_alias=names.previous("misuse"))
    clinic.client.ml.delete_trained_model(model_id=production.old, force=True)
    taken = run(take_in, file=told["file"], sha256=told["sha256"])["import"]
    assert (taken["model_id"], taken["reused"]) == (production.old, False)

    published = run(outliers, day=f"{DAY}")["publish"]
    assert published["published"]
    assert list(clinic.client.indices.get_alias(name=names.results_alias("odd_accesses"))) == [published["index"]]
    clinic.client.ml.delete_data_frame_analytics(id=published["job_id"], force=True)
