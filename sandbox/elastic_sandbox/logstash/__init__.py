"""A runner for Logstash pipelines: parses the shipped configurations, executes their filters, writes to Elasticsearch.

It knows the plugins that `logstash/` uses, as Logstash 9 executes them; every other plugin, setting or regular
expression is refused by name. ``python -m elastic_sandbox.logstash lint | test | run DIR``.
"""
