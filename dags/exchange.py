"""Airflow DAGs: export_model and import_model. Their pages are in elastic_ml.stages.exchange."""

from pathlib import Path

from elastic_ml.stages import exchange

globals().update(exchange.build(Path(__file__).parents[1] / "include"))
