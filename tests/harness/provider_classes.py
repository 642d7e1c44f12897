"""The classes of the package, found by looking at every module, so that none can hide."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from types import ModuleType

from airflow.sdk import BaseOperator

import elastic_ml
from elastic_ml.operators.remote_job import RemoteJobOperator

BASES = frozenset({
    "ChampionChangeOperator", "DataSensor", "ElasticBaseOperator", "KibanaBaseOperator", "LookSensor",
    "RemoteJobOperator",
})  # fmt: skip
"""Operators that nobody instantiates."""


@cache
def modules() -> tuple[ModuleType, ...]:
    """Every module of the package, but those that are programs."""
    found = pkgutil.walk_packages(elastic_ml.__path__, f"{elastic_ml.__name__}.")
    return tuple(importlib.import_module(one.name) for one in found if not one.name.endswith("__main__"))


@cache
def classes(base: type, *, private: bool = False) -> tuple[type, ...]:
    """Every class below a base; with a leading underscore only where `private` says so."""
    found = {
        member
        for module in modules()
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, base) and member.__module__.startswith("elastic_ml.")
    }
    return tuple(sorted((c for c in found if private or not c.__name__.startswith("_")), key=lambda c: c.__name__))


def concrete() -> dict[str, type[BaseOperator]]:
    """Operators and sensors that a DAG may have, by name."""
    return {c.__name__: c for c in classes(BaseOperator) if c.__name__ not in BASES}


def remote() -> dict[str, type[RemoteJobOperator]]:
    """Those of remote work."""
    return {name: c for name, c in concrete().items() if issubclass(c, RemoteJobOperator)}
