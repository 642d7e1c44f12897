"""What a project owns on a cluster and in Kibana: put away, taken off, given new keys; no Airflow."""
