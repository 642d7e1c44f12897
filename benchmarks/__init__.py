"""Measurements behind the documentation's figures: `make bench`, or `python -m benchmarks NAME`."""
