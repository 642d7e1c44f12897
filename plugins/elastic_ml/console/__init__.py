"""Scripts for the Console of Kibana's developer tools: by hand what the DAGs do, from the same bodies.

`python -m elastic_ml.console PROJECT_FOLDER SCRIPTS_FOLDER` writes one per DAG.
"""
