"""Publishing what outlier detection found: it makes no trained model, its results index is the product."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from elastic_ml.exceptions import JobFailedError, NotFoundError
from elastic_ml.links.kibana import IndexLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields

if TYPE_CHECKING:
    from elastic_ml.training.run import TrainingRun

SHOWN = 10
LIKELY = 0.5
"""From this score on Elasticsearch's documentation calls a row more likely an outlier than not."""


class PublishOutliersOperator(ElasticBaseOperator):
    """Let the index alias `<model>_results` point to the results of a finished outlier job, and to nothing else.

    Sends one count, one search for the highest scores, one alias call, and the registry event `deployed`. Results of an
    earlier day never replace those of a later one: such a run ends with `published: false`.

    :param project_folder: the project folder.
    :param model: name of the model file.
    :param run: the run's parameters, `training.RUN_TEMPLATE` (templated).
    :return: `{job_id, index, alias, published, previous, rows, outliers, top}`; `outliers` counts rows scored above
        0.5, `top` holds the ten highest with the features that made them so.
    :raises JobFailedError: the results hold no score.
    """

    template_fields: Sequence[str] = sorted_fields("run")
    operator_extra_links = (IndexLink(),)
    template_fields_renderers: ClassVar[dict[str, str]] = {"run": "json"}

    def __init__(self, *, project_folder: str, model: str, run: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.run = run

    def pages(self, context: Any) -> Mapping[str, str]:
        """The results."""
        from elastic_ml.training.run import TrainingRun

        return {"IndexLink": TrainingRun.of(self.project_folder, self.model, dict(self.run)).results_index}

    def execute(self, context: Any) -> dict[str, Any]:
        """Look at the results, move the alias and record it."""
        from elastic_ml.registry.events import deterministic_id, write_event
        from elastic_ml.training.run import TrainingRun

        run = TrainingRun.of(self.project_folder, self.model, dict(self.run))
        found = self._look(run)
        alias = run.project.names.results_alias(self.model)
        holders = self._holders(alias)
        later = [index for index in holders if _day_of(index) > _day_of(run.results_index)]
        result = {"job_id": run.job_id, "index": run.results_index, "alias": alias, **found}
        if later:
            self.log.warning("%s is newer than %s and stays published.", later[0], run.results_index)
            return {**result, "published": False, "previous": later[0]}
        others = [index for index in holders if index != run.results_index]
        if run.results_index not in holders or others:
            self.client.indices.update_aliases(
                actions=[
                    {"add": {"index": run.results_index, "alias": alias}},
                    *({"remove": {"index": index, "alias": alias}} for index in others),
                ]
            )
        previous = others[0] if others else None
        write_event(
            self.client,
            run.project.names,
            event_type="deployed",
            stage="champion",
            event_id=deterministic_id("deployed", run.job_id, "results"),
            model_name=self.model,
            model_version=run.job_id,
            job_id=run.job_id,
            user=run.requested_by,
            reason=run.word,
            metrics={"rows": float(found["rows"]), "outliers": float(found["outliers"])},
            previous_version=previous,
        )
        self.log.info("%s is %s now.\n%s", alias, run.results_index, _table(found["top"]))
        return {**result, "published": True, "previous": previous}

    def _look(self, run: "TrainingRun") -> dict[str, Any]:
        index = run.results_index
        self.client.indices.refresh(index=index)
        rows = int(self.client.count(index=index, query={"exists": {"field": "ml.outlier_score"}})["count"])
        if rows == 0:
            raise JobFailedError(
                f"{index} holds no outlier score: every row lacked a feature.",
                remedy="Look at the readiness report of this run, and at the messages of the job in Kibana.",
            )
        outliers = self.client.count(index=index, query={"range": {"ml.outlier_score": {"gt": LIKELY}}})["count"]
        hits = self.client.search(
            index=index,
            sort=[{"ml.outlier_score": "desc"}],
            size=SHOWN,
            track_total_hits=False,
        )["hits"]["hits"]
        return {"rows": rows, "outliers": int(outliers), "top": [_row(hit) for hit in hits]}

    def _holders(self, alias: str) -> list[str]:
        try:
            return sorted(self.client.indices.get_alias(name=alias))
        except NotFoundError:
            return []


def _day_of(results_index: str) -> str:
    # `<prefix>-results-<model>-<yyyymmdd>-<8 hex>`
    # An index that somebody else gave the alias has no day, and is replaced.
    return next((part for part in results_index.split("-")[-2:-1] if part.isdigit()), "")


def _row(hit: Mapping[str, Any]) -> dict[str, Any]:
    from elastic_ml.clients.documents import dig

    source = hit["_source"]
    influence = sorted(dig(source, "ml.feature_influence") or [], key=lambda entry: entry["influence"], reverse=True)
    return {
        "id": hit["_id"],
        "score": round(float(dig(source, "ml.outlier_score")), 4),
        "user": dig(source, "user.id"),
        "@timestamp": source.get("@timestamp"),
        "reasons": [f"{entry['feature_name']}={dig(source, entry['feature_name'])}" for entry in influence[:3]],
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(
        f"  {row['score']:.3f}  {row['user'] or row['id']}  {row['@timestamp'] or ''}  {', '.join(row['reasons'])}"
        for row in rows
    )
