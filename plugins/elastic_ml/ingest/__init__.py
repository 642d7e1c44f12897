"""Documents into data streams: ledger, bulk writing, reconciliation. No Airflow."""
