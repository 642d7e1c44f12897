"""The model registry: its events, the models' cards, and how a version becomes the champion; no Airflow."""
