"""Links from tasks into Kibana."""
