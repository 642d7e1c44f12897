"""All scripts of a project, in the order in which an empty cluster takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from elastic_ml.console import data, models, setup, watching

if TYPE_CHECKING:
    from elastic_ml.console.example import Example
    from elastic_ml.console.script import Script


def scripts(example: Example) -> Iterator[Script]:
    """One script per DAG of the project; those of models and jobs by the names of their files."""
    project = example.project
    yield setup.setup(example)
    yield watching.deploy(example)
    yield data.ingest(example)
    yield data.verdict(example)
    yield watching.health(example)
    order = 10
    exchanged = False
    for model in map(project.model, project.models()):
        yield models.train(example, model, order)
        if model.supervised:
            yield models.promote(example, model, order + 1)
            yield models.monitor(example, model, order + 2)
            if not exchanged:
                exchanged = True
                yield models.rescore(example, model, order + 3)
                yield models.export(example, order + 4)
                yield models.import_(example, order + 5)
            yield models.rollback(example, model, order + 6)
        else:
            yield models.monitor(example, model, order + 2)
        order += 10
    for job in map(project.anomaly_job, project.anomaly_jobs()):
        yield data.anomalies(example, job, order)
        order += 1
    yield watching.housekeeping(example, 96)
    yield watching.rotate(example, 97)
    yield setup.remove(example)
