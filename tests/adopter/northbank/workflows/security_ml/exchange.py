"""Airflow DAGs of elastic_ml.stages.exchange.

The DAGs export_model and import_model; their pages are `EXPORT` and `IMPORT` below.
"""

from pathlib import Path

from elastic_ml.stages import exchange

globals().update(exchange.build(Path(__file__).parent / "project"))
