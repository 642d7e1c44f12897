"""Analytics jobs and trained models: the lists, and one in full."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from elastic_sandbox.kibana.application import KibanaRequest
from elastic_sandbox.kibana.pages import charts, formats
from elastic_sandbox.kibana.pages.html import Cell, Page, Table, Text
from elastic_sandbox.kibana.pages.times import rison, shown

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

_ANALYTICS, _MODELS = "/app/management/ml/analytics", "/app/management/ml/trained_models"
_INDEX: Final = "/app/management/data/index_management/indices/index_details?indexName="
OWN: Final = "Scores and probabilities are the sandbox's own: they rank as Elastic's do, and are not equal to them."
TONES: Final = {"stopped": "quiet", "closed": "quiet", "failed": "bad", "started": "good", "opened": "good"}


def _searched(request: KibanaRequest, field: str) -> str:
    """The id that the search bar asks for, as links write it: ``_a=('':(queryText:'id:x'))``."""
    state = rison(request.params["_a"]) if request.params.get("_a") else {}
    found = state.get("") if isinstance(state, dict) else None
    name, _, value = str(found.get("queryText", "") if isinstance(found, dict) else "").partition(":")
    return request.params.get("id") or (value.strip('()" ') if name == field else "")


def _json(title: str, value: Any) -> Text:
    return Text(json.dumps(value, indent=2, ensure_ascii=False, default=str), title, form="code")


def when(ms: Any) -> Cell:
    """An instant of a configuration or of statistics."""
    return Cell(shown(int(ms)) if ms else formats.NOTHING, whole=True)


def _crumbs(title: str, path: str, wanted: str) -> list[tuple[str, str]]:
    return [("Home", "/app/home"), *([(title, path)] if wanted else [])]


def analytics(backend: Backend, request: KibanaRequest) -> Page:
    """Data frame analytics jobs; with an id in the search bar, that one in full."""
    wanted = _searched(request, "id")
    jobs = [job for job in backend.ml.jobs.expand(None, allow_no_match=True) if not wanted or job.id == wanted]
    rows = []
    for job in sorted(jobs, key=lambda one: -int(one.config.get("create_time", 0))):
        done, dest = sum(job.progress.values()) / max(len(job.progress), 1), str(job.config["dest"]["index"])
        rows.append([
            Cell(job.id, f"{_ANALYTICS}?{urlencode({'id': job.id})}"), Cell(next(iter(job.config["analysis"]))),
            Cell(job.state, tone=TONES.get(job.state, "warning")), Cell(f"{done:.0f} %", number=True),
            Cell(f"{sum(job.data_counts.values()):,}", number=True), when(job.config.get("create_time")),
            Cell(dest, _INDEX + quote(dest, safe="")), Cell(job.failure_reason or ""),
        ])  # fmt: skip
    columns = ["Job", "Analysis", "State", "Progress", "Rows", "Created", "Destination", "Failure"]
    empty = f"There is no job [{wanted}]." if wanted else "There are no jobs yet."
    blocks: list[Any] = [Table(columns, rows, empty=empty)]
    if wanted and jobs:
        stats = jobs[0].stats(None, verbose=True)
        phases = [
            [Cell(one["phase"]), Cell(f"{one['progress_percent']} %", number=True)] for one in stats.pop("progress")
        ]
        blocks += [Table(["Phase", "Progress"], phases, "Progress"), _json("Statistics", stats),
                   _json("Configuration", jobs[0].config)]  # fmt: skip
    return Page(wanted or "Analytics jobs", blocks, _crumbs("Analytics jobs", _ANALYTICS, wanted), notes=[OWN])


def models(backend: Backend, request: KibanaRequest) -> Page:
    """Trained models; with an id or an alias in the search bar, that one in full."""
    wanted, store, rows, chosen = _searched(request, "model_id"), backend.ml.models, [], []
    for model_id in store.expand(None, allow_no_match=True):
        aliases = store.aliases_of(model_id)
        if wanted and wanted not in {model_id, *aliases}:
            continue
        chosen.append(model_id)
        config, stats = store.config(model_id), store.stats(model_id)
        rows.append([
            Cell(model_id, f"{_MODELS}?{urlencode({'id': model_id})}"), Cell(", ".join(aliases)),
            Cell(", ".join(config.get("inference_config") or {})), Cell(", ".join(config.get("tags") or [])),
            Cell(formats.number(config.get("model_size_bytes", 0), {"id": "bytes"}), number=True),
            Cell(f"{stats.get('inference_stats', {}).get('inference_count', 0):,}", number=True),
            Cell(str(stats["pipeline_count"]), number=True), when(config.get("create_time")),
        ])  # fmt: skip
    columns = ["Model", "Aliases", "Kind", "Tags", "Size", "Inferences", "Pipelines", "Created"]
    empty = f"There is no model [{wanted}]." if wanted else "There are no models yet."
    blocks: list[Any] = [Table(columns, rows, empty=empty)]
    if wanted and chosen:
        full = store.shown(chosen[:1], {"total_feature_importance", "hyperparameters"})[0]
        importance = (full.get("metadata") or {}).get("total_feature_importance") or []
        ranked = sorted(((str(one["feature_name"]), _importance(one)) for one in importance), key=lambda one: -one[1])[
            :20
        ]
        if ranked:
            chart = charts.XY([charts.Series("importance", ranked, "bar")], None, horizontal=True)
            blocks.append(
                replace(chart.draw(900, 40 + 18 * len(ranked), "importance"), title="Mean feature importance")
            )
        blocks += [_json("Statistics", store.stats(chosen[0])), _json("Configuration", full)]
    return Page(wanted or "Trained models", blocks, _crumbs("Models", _MODELS, wanted), notes=[OWN])


def _importance(one: dict[str, Any]) -> float:
    """The mean magnitude, over the classes where there are several."""
    found = [one["importance"]] if one.get("importance") else [each["importance"] for each in one.get("classes") or []]
    return sum(float(each["mean_magnitude"]) for each in found) / max(len(found), 1)


PAGES: Final = {_ANALYTICS: analytics, _MODELS: models}
