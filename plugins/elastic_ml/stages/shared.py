"""What the stages share: which project, which of its models to build now, and how every DAG of ours looks."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, conf, get_parsing_context

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.operators.base import RETRY_POLICY
from elastic_ml.project import Project, load_project

if TYPE_CHECKING:
    from elastic_ml.project.model import Model

log = logging.getLogger(__name__)


def wanted(dag_id: str) -> bool:
    """Whether this parse needs the DAG: a task's own process asks for one, the dag-processor for all."""
    asked = get_parsing_context().dag_id
    return asked is None or asked == dag_id


def models_for(project: Project, stage: str) -> Iterator[Model]:
    """The valid models whose DAG `<stage>_<model>` this parse needs; only their files are read.

    An invalid file is skipped here and reported by `dags/check_model_files.py`: raising would make Airflow mark every
    DAG of the stage stale because of one model's typing error.
    """
    for name in project.models():
        if not wanted(project.names.dag_id(stage, name)):
            continue
        try:
            yield project.model(name)
        except ProjectFileError as error:
            log.warning("%s skips a model: %s", stage, error)


def per_supervised_model(
    folder: Path | str, stage: str, make: Callable[[Project, Model, dict[str, Any]], DAG]
) -> dict[str, DAG]:
    """The DAGs `<stage>_<model>` of the project in `folder`, one per model file that makes a trained model, by id.

    :param make: called with the project, the model, and the arguments that all operators of the stage share.
    """
    return per_model(folder, stage, make, supervised_only=True)


def per_model(
    folder: Path | str,
    stage: str,
    make: Callable[[Project, Model, dict[str, Any]], DAG],
    *,
    supervised_only: bool = False,
) -> dict[str, DAG]:
    """The DAGs `<stage>_<model>` of the project in `folder`, one per model file, by id; see `per_supervised_model`."""
    project = project_at(folder)
    dags = {}
    for model in models_for(project, stage):
        if model.supervised or not supervised_only:
            common = {
                "elastic_conn_id": project.settings.connections.learn,
                "kibana_conn_id": project.settings.connections.kibana,
                "project_folder": str(Path(folder).resolve()),
                "model": model.name,
            }
            dag = make(project, model, common)
            dags[dag.dag_id] = dag
    return dags


def single_dag(folder: Path | str, stage: str, make: Callable[[Project, str, str], DAG]) -> dict[str, DAG]:
    """The one DAG of a stage, of the project in `folder`, by its id; empty when this parse needs another DAG.

    :param make: called with the project, the DAG's id and the folder as operators take it.
    """
    project = project_at(folder)
    dag_id = project.names.dag_id(stage)
    return {dag_id: make(project, dag_id, str(Path(folder).resolve()))} if wanted(dag_id) else {}


def start_date() -> datetime:
    """From when on scheduled runs are made: `[elastic_ml] start_date`, else long ago (nothing catches up).

    :raises ValueError: it is no ISO date.
    """
    written = conf.get("elastic_ml", "start_date", fallback="")
    if not written:
        return datetime(2020, 1, 1, tzinfo=UTC)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise ValueError(
            f"[elastic_ml] start_date is {written!r}. Write an ISO date such as 2026-12-01 in Airflow's configuration."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def dag_arguments(
    project: Project,
    page: ModuleType | str | None,
    *,
    model: str | None = None,
    owner: str | None = None,
    tags: list[str] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Keyword arguments that every DAG of the package takes; `more` adds to them or replaces them.

    :param page: the stage's module, whose docstring is the DAG's page, or the page's text.
    :param model: stands for `<model>` on the page, which the UI would take for an HTML tag.
    :param owner: owner of the tasks, by default the project's.
    :param tags: tags beside the project's name and `elastic-ml`.
    """
    text = page.__doc__ if isinstance(page, ModuleType) else page
    doc = inspect.cleandoc(text or "")
    if model:
        doc = doc.replace("<model>", model)
    arguments: dict[str, Any] = {
        "description": doc.partition("\n")[0][:240],
        "doc_md": doc,
        "start_date": start_date(),
        "catchup": False,
        "max_active_runs": 1,
        "tags": sorted({"elastic-ml", project.name, *(tags or [])}),
        "default_args": {
            "owner": owner or project.settings.owner,
            "retries": 2,
            "retry_delay": timedelta(seconds=30),
            "retry_policy": RETRY_POLICY,
        },
    }
    return {**arguments, **more}


def project_at(folder: Path | str) -> Project:
    """The project of a stage file; reads `project.yml` only."""
    return load_project(folder)
