"""Transforms: pivots of source indices into a destination, once or continuously."""

from elastic_sandbox.transform.transforms import Transforms

__all__ = ["Transforms"]
