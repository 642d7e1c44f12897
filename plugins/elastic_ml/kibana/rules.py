"""Alert rules of the asset folders: short YAML in, bodies of Kibana's rule API out."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.kibana_bundle.folders import files_of
from elastic_ml.kibana_bundle.texts import put_in
from elastic_ml.project.settings import Severity
from elastic_ml.project.yaml_files import FileModel, file_error, line_of_key, read_file

if TYPE_CHECKING:
    from elastic_ml.project.project import Project

TAG = "elastic-ml"
FLAPPING = {"look_back_window": 20, "status_change_threshold": 4}
"""Four changes in twenty runs: told once, and again when it has settled. Said, so that no space's setting decides."""
Duration = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*[smhd]$")]
Value = bool | int | float | str


class RuleFile(FileModel):
    """One rule: a query in ES|QL whose rows are alerts.

    Kibana shows the query only documents whose `time_field` lies in the last `window`. `alerts: row` makes an alert
    per row, named by what the last STATS groups by; `all` a single one. project.yml may change the numbers of `values`.
    `for_each: classification` makes a rule for each model file of that analysis (`model` in the texts).
    """

    id: str
    name: str
    severity: Severity
    every: Duration
    window: Duration
    esql: str
    guide: str
    alerts: Literal["row", "all"] = "row"
    time_field: str = "@timestamp"
    for_each: Literal["classification"] | None = None
    unless: Literal["serverless"] | None = None
    values: dict[str, Value] = Field(default_factory=dict)
    dashboards: list[str] = Field(default_factory=list)
    after_runs: Annotated[int, Field(ge=1)] = 1
    enabled: bool = True


@dataclass(frozen=True)
class Rule:
    """A rule as Kibana gets it, but for its actions.

    :param name: the name of its file, which is the heading of its runbook.
    :param severity: P1 to P3.
    :param unless: where it makes no sense.
    :param body: what Kibana's API takes, without `actions`.
    """

    id: str
    name: str
    severity: str
    unless: str | None
    body: Mapping[str, Any]


def rules_of(
    project: Project, folders: Sequence[Path], dashboards: Collection[str] = (), *, every_model: bool = True
) -> list[Rule]:
    """The rules of the folders' `rules/*.yml`; a later folder's file replaces one of the same name.

    :param dashboards: ids of the dashboards that there are; a rule refers to no other.
    :param every_model: False makes one rule of a file that has one for each model: enough to check the file.
    :raises ProjectFileError: a file is wrong, or project.yml changes a rule or a value that there is not.
    """
    files = files_of(folders, "rules")
    changed = project.settings.kibana.rules
    for name in changed:
        if name not in files:
            raise _unknown(project, ("kibana", "rules", name), f"there is no rule {name}", sorted(files))
    made = []
    for name, path in files.items():
        own = changed.get(name, {})
        if own is not False:
            variants = islice(_each(project, path), None if every_model else 1)
            made += [_rule(project, path, variables, own, dashboards) for variables in variants]
    return made


def _each(project: Project, path: Path) -> Iterator[dict[str, Any]]:
    """What a file is rendered with: once, or once per model."""
    each = re.search(r"^for_each: *(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    if each is None:
        yield {}
        return
    for name in project.models():
        try:
            model = project.model(name)
        except ProjectFileError:
            continue  # `check_model_files` says so; the rules of the other models stay
        if model.kind == each[1] and model.serve is not None:
            yield {"model": model}


def _rule(
    project: Project,
    path: Path,
    variables: Mapping[str, Any],
    own: Mapping[str, Value],
    dashboards: Collection[str],
) -> Rule:
    prepare = _preparation(project, path, variables, own)
    one = read_file(path, RuleFile, prepare=prepare)
    size, unit = one.window[:-1], one.window[-1]
    shown = [f"{project.names.prefix}-{name}" for name in one.dashboards]
    artifacts: dict[str, Any] = {"investigation_guide": {"blob": _guide(project, path.stem, one.guide)}}
    if linked := [{"id": name} for name in shown if name in dashboards]:
        artifacts["dashboards"] = linked
    body = {
        "name": one.name,
        "consumer": "stackAlerts",
        "rule_type_id": ".es-query",
        "enabled": one.enabled,
        "schedule": {"interval": one.every},
        "tags": sorted({TAG, project.name, one.severity}),
        "params": {
            "searchType": "esqlQuery",
            "esqlQuery": {"esql": one.esql},
            "groupBy": one.alerts,
            "timeField": one.time_field,
            "timeWindowSize": int(size),
            "timeWindowUnit": unit,
            "threshold": [0],
            "thresholdComparator": ">",
            "size": 0,
        },
        "alert_delay": {"active": one.after_runs},
        "flapping": dict(FLAPPING),
        "artifacts": artifacts,
    }
    return Rule(one.id, path.stem, one.severity, one.unless, body)


def _preparation(
    project: Project, path: Path, variables: Mapping[str, Any], own: Mapping[str, Value]
) -> Callable[[dict[str, Any]], Any]:
    def prepare(data: dict[str, Any]) -> Any:
        values = data.get("values") or {}
        for name in own:
            if name not in values:
                place = ("kibana", "rules", path.stem, name)
                raise _unknown(project, place, f"the rule {path.stem} has no value {name}", sorted(values))
        known = {"names": project.names, "project": project.settings, "values": {**values, **own}, **variables}
        return put_in(path, data, known)

    return prepare


def _guide(project: Project, name: str, text: str) -> str:
    page = project.settings.kibana.runbooks
    where = f"[{name}]({page}#{name})" if page else f"`docs/alert-rules.md`, under `{name}`"
    return f"{text.rstrip()}\n\nRunbook: {where}\n"


def _unknown(project: Project, place: tuple[str, ...], problem: str, there: Sequence[str]) -> ProjectFileError:
    path = project.folder / "project.yml"
    remedy = f"write one of {', '.join(there) or 'none'}, or remove the line"
    return file_error(path, line_of_key(path, *place), ".".join(place), problem, remedy)
