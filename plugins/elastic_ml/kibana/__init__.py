"""What people see in Kibana, brought there: rules, connectors, dashboards, and scripts for its console. No Airflow."""
