"""The stand-in: Elasticsearch and Kibana over HTTP in one process, for laptops and tests.

``python -m elastic_sandbox`` serves it; :func:`elastic_sandbox.testing.serve` serves it inside a test.
What it cannot do it refuses with 501 ``sandbox_unsupported``, naming the thing.
"""
