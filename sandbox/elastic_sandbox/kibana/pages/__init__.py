"""Kibana's pages: dashboards, rules, alerts and machine learning as HTML, drawn by the server, each from live data."""
