"""rescore: scores the past with a model's champion, beside the events, which stay as they were.

`rescore`

| param | meaning | default |
|---|---|---|
| `model` | name of the model file | none |
| `window` | how far back, such as `30d` | `30d` |
| `until` | UTC day before which the window ends | the day of the run |
| `documents_per_second` | how fast the copy may be, over all slices; -1 for no limit | 500 |

A sliced, throttled reindex through `<model>@rescore` into `<prefix>-scores-<model>-<8 hex of the model id>`; at the end
the alias `<model>_scores` moves there. What is there already is passed over: a larger window, or a run after a kill,
copies what is missing. The champion of the moment the run starts scores all of it; a promotion meanwhile changes
nothing. History that no stream shows yet (a past month before it is sealed) is not in it.

**When it runs:** by hand: after a promotion, to look at last month through the new model; before one, never.

**When it fails:** clear it: it goes on where it stopped. `scores with ... now`: another rescoring of the same model
took its pipeline over; run them one after the other. On Serverless a killed run cannot stop its copy: it goes on to the
end by itself, and a later run finds its rows.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.rescore import RescoreOperator
from elastic_ml.stages.shared import dag_arguments, project_at, wanted
from elastic_ml.stages.train import DURATION


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAG `rescore` of the project in `folder`, by its id; none without a model file."""
    project = project_at(folder)
    dag_id = project.names.dag_id("rescore")
    # Names only: reading every model file would cost each parse of a large project a tenth of a second.
    models = project.models()
    if not wanted(dag_id) or not models:
        return {}
    with DAG(
        dag_id,
        schedule=None,
        **dag_arguments(
            project,
            sys.modules[__name__],
            tags=["rescore"],
            deadline=deadline(
                timedelta(days=7, hours=1),
                elastic_conn_id=project.settings.connections.learn,
                alerts=project.names.alerts,
            ),
            params={
                "model": Param(models[0], type="string", enum=models, description="Name of the model file."),
                "window": Param("30d", type="string", pattern=DURATION, description="How far back, such as 30d."),
                "until": Param(
                    None, type=["null", "string"], format="date", description="UTC day before which it ends."
                ),
                "documents_per_second": Param(500, type="number", description="Over all slices; -1 for no limit."),
            },
        ),
    ) as dag:
        RescoreOperator(
            task_id="rescore",
            elastic_conn_id=project.settings.connections.learn,
            kibana_conn_id=project.settings.connections.kibana,
            project_folder=str(Path(folder).resolve()),
            model="{{ params.model }}",
            window="{{ params.window }}",
            until="{{ params.until or dag_run.run_after.strftime('%Y-%m-%d') }}",
            documents_per_second="{{ params.documents_per_second }}",
            timeout=timedelta(days=7),
        )
    return {dag_id: dag}
