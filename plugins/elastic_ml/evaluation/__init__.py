"""Judging models: metrics beyond Elasticsearch's own, calibration, drift, model cards; numpy only."""
