"""The Kibana side of the sandbox."""
