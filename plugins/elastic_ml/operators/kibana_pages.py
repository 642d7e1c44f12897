"""Which page of Kibana shows what the stages' tasks work on: the objects that links name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elastic_ml.project.names import Names


def names_of(folder: str) -> "Names":
    """The names of the project in a folder."""
    from elastic_ml.project import load_project

    return load_project(folder).names


def of_model(folder: str, model: str, model_id: str | None = None) -> dict[str, str]:
    """The dashboard of models with this one chosen, and its trained models, or the one of them that a task is about.

    :param folder: the project folder.
    :param model: name of the model file.
    """
    names = names_of(folder)
    return {
        "ModelDashboardLink": f"{names.kibana_asset('model-operations')}/{model}",
        "TrainedModelLink": model_id or names.on_cluster(model),
    }


def result_of(context: Any, task_id: str, key: str) -> str:
    """What another task of the run returned under a key; empty where it returned nothing."""
    found = context["ti"].xcom_pull(task_ids=task_id)
    return str((found or {}).get(key) or "")


def data_dashboard(names: "Names") -> str:
    """The dashboard of what comes in, and of what everything stands on."""
    return names.kibana_asset("data-and-pipelines")


def partitions(names: "Names") -> str:
    """A query for the ledger's partitions, those first of which something was heard last."""
    return f'FROM {names.ledger} | WHERE kind == "partition" | SORT updated_at DESC | LIMIT 500'


def newest(source: str, where: Mapping[str, str] | None = None) -> str:
    """A query for the newest documents of a stream, or of several separated by commas.

    :param where: fields that have to equal a text.
    """
    conditions = "".join(f" | WHERE {field} == {_text(value)}" for field, value in (where or {}).items())
    return f"FROM {source}{conditions} | SORT @timestamp DESC | LIMIT 500"


def _text(value: str) -> str:
    """A text as ES|QL writes it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
