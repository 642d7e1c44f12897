"""Rules, connectors and the bundle of dashboards, brought to one Kibana and compared with what is there. No Airflow."""
