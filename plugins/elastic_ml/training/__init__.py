"""What one training of one model is: its run, its features, whether there is enough to learn from; no Airflow."""
