"""The person in a stage: Airflow's own approval, held to who may approve a model.

It asks nobody's cluster, so it is no verb of Elastic's and lies with the DAGs; whatever imports the operators is spared
Airflow's human-in-the-loop operators, which take as long as a fifth of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator

from elastic_ml.exceptions import NotReadyError
from elastic_ml.links.kibana import TrainedModelLink, store_links
from elastic_ml.operators.promotion import DECISION_KEY

ANONYMOUS = "anonymous"


class PromotionApprovalOperator(ApprovalOperator):
    """Ask a person, with the model card in the request.

    Airflow keeps no XCom when a person rejects or nobody answers; the decision is therefore stored under the key
    `decision` first: `{option, user, time, reason, timed_out}`. Only a named person approves: one of
    `assigned_users` where there are any, never somebody unknown, and never whoever had the model trained. A refused
    approval fails that try with a sentence, and the next one opens the request again.

    :param requesters: who asked for the training: names separated by commas (templated).
    :param model_id: the candidate, for the link (templated).
    :param kibana_conn_id: connection to Kibana, for the link; may be absent (templated).
    """

    template_fields: Sequence[str] = tuple(
        sorted((*ApprovalOperator.template_fields, "kibana_conn_id", "model_id", "requesters"))
    )
    operator_extra_links = (TrainedModelLink(),)
    ui_color = "#00BFB3"
    ui_fgcolor = "#fff"

    def __init__(
        self, *, requesters: str = "", model_id: str = "", kibana_conn_id: str = "kibana_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.requesters = requesters
        self.model_id = model_id
        self.kibana_conn_id = kibana_conn_id
        self.kibana_links: dict[str, str] | None = None

    def pre_execute(self, context: Any) -> None:
        """Store the link before the request opens: whoever is asked wants to look."""
        store_links(self, context, lambda: {"TrainedModelLink": self.model_id})

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Refuse the requester's own approval, store the decision, then go on or skip what follows."""
        if "error" not in event:
            names = _names_of(event.get("responded_by_user"))
            option = event["chosen_options"][0]
            if option == self.APPROVE and (refusal := self._refusal(names)):
                raise NotReadyError(
                    refusal, remedy="The request opens again with the next try: somebody else has to answer it."
                )
            decision = {
                "option": option,
                "user": names[-1] if names else None,
                "time": _text(event.get("responded_at")),
                "reason": (event.get("params_input") or {}).get("reason") or None,
                "timed_out": bool(event.get("timedout")) or not names,
            }
            context["ti"].xcom_push(key=DECISION_KEY, value=decision)
        return super().execute_complete(context, event)

    def _refusal(self, names: Sequence[str]) -> str | None:
        """Return why whoever answered may not approve; None when they may."""
        # Airflow's simple auth manager with all-admins on lets everybody through as "Anonymous", assigned or not.
        if not names or ANONYMOUS in {name.lower() for name in names}:
            return "Somebody without a name cannot approve a model."
        if {name.strip() for name in self.requesters.split(",")} & set(names):
            return f"{names[-1]} had this model trained and cannot approve it."
        assigned = {user[key] for user in self.assigned_users or [] for key in ("id", "name")}
        if assigned and not assigned & set(names):
            return f"{names[-1]} is not among the approvers of this model ({', '.join(sorted(assigned))})."
        return None


def _names_of(user: Any) -> list[str]:
    """Return id and name of the user who answered, the name last; nothing for a default after the timeout."""
    if user is None:
        return []
    found = [user.get(key) if isinstance(user, Mapping) else getattr(user, key, None) for key in ("id", "name")]
    return [str(name) for name in found if name]


def _text(moment: Any) -> str | None:
    return moment.isoformat() if hasattr(moment, "isoformat") else (str(moment) if moment else None)
