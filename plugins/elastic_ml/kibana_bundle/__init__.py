"""Dashboards and data views of Kibana: from readable files to one bundle that Kibana 9.2 to 9.5 imports.

`build_bundle(project).ndjson` is the file for `POST /api/saved_objects/_import`. Needs no Airflow.
"""

from elastic_ml.kibana_bundle.bundle import Bundle, build_bundle
from elastic_ml.kibana_bundle.folders import asset_folders, platform_folder

__all__ = ["Bundle", "asset_folders", "build_bundle", "platform_folder"]
