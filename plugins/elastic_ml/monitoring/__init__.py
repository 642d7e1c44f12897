"""What is measured of models in production and of everything underneath, and how it is written; no Airflow."""
