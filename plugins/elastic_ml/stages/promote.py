"""promote_<model>: lets a candidate into production, by its figures and by a person, and takes nothing on trust.

`gate` → `approve` → `switch` → `record`

| task | what it does |
|---|---|
| `gate` | card complete, inputs as learned, the model file's limits, not worse than the champion on the same rows |
| `approve` | shows the model card; only a named approver, never the requester, may approve; silence is a rejection |
| `switch` | simulates, moves the alias, simulates again; any failure puts alias and pipeline back and says so |
| `record` | writes a rejection to the registry; a promotion was written by the switch |

**When it runs:** once per candidate that `train_<model>` or `import_model` emits, its partition key the analytics job;
or by hand with the param `model_id`. Candidates queue; one that waited behind another is superseded when the champion
it was compared with is gone, and so is one that waited while `rollback_<model>` ran. A present champion asks nobody.

`approval: {mode: auto}` in the model file leaves the person out, and only where Airflow's configuration says
`[elastic_ml] allow_auto_approval = True`; elsewhere a person is asked all the same.

**When it fails:** `gate` says which figure was not good enough; the champion stays. `switch` says what it put back.
`rollback_<model>` takes a promoted model back.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset, Param, PartitionedAssetTimetable, TriggerRule, conf

from elastic_ml.notifications.deadline import deadline
from elastic_ml.operators.champion import SwitchChampionOperator
from elastic_ml.operators.promotion import GateOperator, RecordDecisionOperator
from elastic_ml.project.model import Approval
from elastic_ml.stages.approval import PromotionApprovalOperator
from elastic_ml.stages.shared import dag_arguments, per_supervised_model

if TYPE_CHECKING:
    from elastic_ml.project import Project
    from elastic_ml.project.model import Model

MODEL_ID = "{{ params.model_id or (triggering_asset_events.values() | first | first).extra.model_id }}"
GATED = "ti.xcom_pull(task_ids='gate')"


def build(folder: Path | str) -> dict[str, DAG]:
    """The DAGs `promote_<model>` of the project in `folder`, one per supervised model file, by their ids."""
    return per_supervised_model(folder, "promote", _promote)


def _promote(project: Project, model: Model, common: dict[str, Any]) -> DAG:
    name, uri = project.names.candidate_asset(model.name)
    automatic = (
        model.approval is not None
        and model.approval.mode == "auto"
        and conf.getboolean("elastic_ml", "allow_auto_approval", fallback=False)
    )
    with DAG(
        project.names.dag_id("promote", model.name),
        schedule=PartitionedAssetTimetable(assets=Asset(name=name, uri=uri)),
        **dag_arguments(
            project,
            sys.modules[__name__],
            model=model.name,
            owner=model.owner,
            tags=["promote", model.kind, model.name],
            # Counted from the queue, where a run may wait for the approval of the one before it.
            deadline=deadline(
                2 * (model.approval or Approval()).timeout + timedelta(hours=1),
                elastic_conn_id=project.settings.connections.learn,
                alerts=project.names.alerts,
            ),
            params={
                "model_id": Param(
                    None,
                    type=["null", "string"],
                    description="Trained model to promote; empty in runs that a candidate starts.",
                )
            },
        ),
    ) as dag:
        gate = GateOperator(task_id="gate", model_id=MODEL_ID, **common)
        approve = EmptyOperator(task_id="approve") if automatic else _approval(project, model)
        switch = SwitchChampionOperator(task_id="switch", approval="auto" if automatic else "person", **common)
        record = RecordDecisionOperator(task_id="record", trigger_rule=TriggerRule.NONE_FAILED, **common)
        gate >> approve >> switch >> record
    return dag


def _approval(project: Project, model: Model) -> PromotionApprovalOperator:
    approval = model.approval or Approval()
    approvers = [{"id": user, "name": user} for user in approval.approvers]
    return PromotionApprovalOperator(
        task_id="approve",
        subject=f"Promote {model.name} to {{{{ {GATED}['model_id'] }}}}?",
        body=f"{{{{ {GATED}['markdown'] }}}}",
        requesters=f"{{{{ {GATED}['requested_by'] or '' }}}},{{{{ {GATED}['started_by'] or '' }}}}",
        model_id=f"{{{{ {GATED}['model_id'] }}}}",
        kibana_conn_id=project.settings.connections.kibana,
        params={"reason": Param("", type="string", description="Why; kept in the registry.")},
        defaults="Reject",
        # A refused requester costs a try.
        retries=10,
        response_timeout=approval.timeout,
        assigned_users=approvers or None,
    )
