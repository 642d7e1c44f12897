"""What a project has on a cluster and no longer needs, found and put away step by step."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from elastic_ml.clients.remote_jobs import ANALYTICS, DATAFEED, stop
from elastic_ml.exceptions import ConflictError, NotFoundError, ProjectFileError, UnavailableError
from elastic_ml.maintenance.possessions import PAGE, Possessions, versioned, when
from elastic_ml.maintenance.steps import DELETED, REFUSED, Step, carry_out, named_in_pipelines
from elastic_ml.project.anomaly_partitions import Learnt
from elastic_ml.registry.events import deterministic_id, write_event

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

    from elastic_ml.project.project import Project

RUNNING = frozenset({"started", "starting", "opened", "opening"})
EXPIRY = timedelta(minutes=5)
"""How long Elasticsearch may delete expired data of one job in one run."""


class Training:
    """Everything that one analytics job left behind, found by any of its parts; `uses` says why it stays."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.born: list[datetime] = []
        self.models: list[str] = []
        self.job = False
        self.indices: list[str] = []
        self.pipelines: list[str] = []
        self.uses: list[str] = []


class House(Possessions):
    """What a project has on a cluster, and what of it is old.

    :param before: unused things made earlier than this go.
    """

    def __init__(self, client: "Elasticsearch", project: "Project", before: datetime, *, serverless: bool) -> None:
        super().__init__(client, project)
        self.before = before
        self.serverless = serverless
        # Trainings of which some part could not be deleted: what is left of them stays.
        self._broken: set[str] = set()
        self._families = {self.names.train_index(""), self.names.holdout_index(""), self.names.results_index("")}

    def do(self, step: Step) -> Step:
        """Carry out one step."""
        if step.action == "stop":
            stop(self.client, ANALYTICS if step.kind == "analytics job" else DATAFEED, step.name)
            return Step(step.kind, step.name, "stopped", step.reason)
        if step.kind == "forecasts and results":
            return self._expire(step)
        if step.part_of in self._broken:
            return step._replace(action="keep", reason=f"another part of {step.part_of} could not be deleted")
        done = carry_out(self.client, step)
        if done.refused and step.part_of:
            self._broken.add(step.part_of)
        return done

    def _expire(self, step: Step) -> Step:
        """Let Elasticsearch delete what a job's retention no longer covers; the server stops by itself in time."""
        client = self.client.options(request_timeout=EXPIRY.total_seconds() + 30, max_retries=0)
        try:
            answer = client.ml.delete_expired_data(job_id=step.name, timeout=f"{EXPIRY.seconds}s")
        except (UnavailableError, ConflictError) as error:
            return step._replace(action="keep", reason=f"{REFUSED}{error.message}")
        if not answer["deleted"]:
            why = f"not all of it in {EXPIRY.seconds // 60} minutes: Elasticsearch every night, or the next run, does"
            return step._replace(action="keep", reason=why)
        return step._replace(action=DELETED)

    # what runs for nobody

    def idle_runs(self, run_is_over: Callable[[str, str], bool]) -> Iterator[Step]:
        """Yield analytics jobs and datafeeds that run though the Airflow run that started them is over."""
        states = {
            job["id"]: job["state"]
            for job in self._machine_learning(
                lambda: self.client.ml.get_data_frame_analytics_stats(id="*", size=PAGE)["data_frame_analytics"]
            )
        }
        for job in self._analytics_jobs():
            if states.get(job["id"]) in RUNNING and (why := _orphaned(job.get("_meta") or {}, run_is_over)):
                yield Step("analytics job", job["id"], "stop", why)
        jobs = self._anomaly_jobs()
        if not jobs:
            return
        feeds = {f["datafeed_id"]: f["state"] for f in self.client.ml.get_datafeed_stats(datafeed_id="*")["datafeeds"]}
        for job in jobs:
            feed = (job.get("datafeed_config") or {}).get("datafeed_id")
            settings = job.get("custom_settings") or {}
            idle = feeds.get(feed) in RUNNING and not self._realtime(job["job_id"])
            if idle and (why := _orphaned(settings, run_is_over)):
                yield Step("datafeed", str(feed), "stop", why)

    # what is old

    def outdated(self) -> Iterator[Step]:
        """Yield everything that goes, in an order in which each step is possible, and what stays with its reason."""
        aliased = self._aliased_indices()
        for training in self._trainings(aliased).values():
            yield from self._training_steps(training)
        yield from self._scores(aliased)
        yield from self._anomaly_steps()

    def register_deletions(self) -> None:
        """Write `deleted` to the registry for every model whose card is there and which itself is not.

        From the cards, not from what was just deleted: a run that ended in between is made good by the next one.
        """
        models = self._models()
        if models is None:
            return
        there = {config["model_id"] for config in models}
        try:
            hits = self.client.search(
                index=self.names.model_cards,
                size=PAGE,
                query={"range": {"@timestamp": {"lt": self.before.isoformat()}}},
                sort=[{"@timestamp": "desc"}],
                source={"includes": ["model_id", "model_name", "job_id", "deleted"]},
            )["hits"]["hits"]
        except NotFoundError:
            return
        for card in (hit["_source"] for hit in hits):
            if card.get("deleted") or card["model_id"] in there:
                continue
            write_event(
                self.client,
                self.names,
                event_type="deleted",
                model_name=card["model_name"],
                model_version=card["model_id"],
                event_id=deterministic_id("deleted", card["model_id"]),
                stage="retired",
                job_id=card.get("job_id"),
                reason="unused and older than housekeeping keeps",
            )
            self.client.update(
                index=self.names.model_cards, id=card["model_id"], doc={"stage": "retired", "deleted": True}
            )

    def _trainings(self, aliased: Mapping[str, list[str]]) -> dict[str, Training]:
        found: dict[str, Training] = {}
        models = self._models()
        if models is None:
            # Nothing says which trainings are in use.
            return found

        def of(job_id: str) -> Training:
            return found.setdefault(job_id, Training(job_id))

        for job in self._analytics_jobs():
            training = of(job["id"])
            training.job = True
            training.born.append(when(job["create_time"]))
        pipelines = self.client.ingest.get_pipeline().body
        named = named_in_pipelines(pipelines)
        carded = self._carded()
        for config in models:
            job_id = next((tag for tag in config.get("tags", []) if self._job.fullmatch(tag)), None)
            made_by = ((config.get("metadata") or {}).get("analytics_config") or {}).get("_meta")
            # Another project on this cluster may have a model of the same name.
            if job_id is None or not (config["model_id"] in carded or (made_by and self._ours(made_by))):
                continue
            training = of(job_id)
            training.models.append(config["model_id"])
            training.born.append(when(config["create_time"]))
            aliases = (config.get("metadata") or {}).get("model_aliases") or []
            training.uses += [f"has the alias {alias}" for alias in aliases]
            for name in (config["model_id"], *aliases):
                # The job's own holdout pipeline, left behind by a crash, keeps nothing.
                users = named.get(name, set()) - {self.names.holdout_pipeline(job_id)}
                training.uses += [f"named by the pipeline {user}" for user in sorted(users)]
        for index, born in self._indices(self._families):
            job_id = next(index.removeprefix(prefix) for prefix in self._families if index.startswith(prefix))
            training = of(job_id)
            training.indices.append(index)
            training.born.append(born)
            training.uses += [f"{index} is behind the alias {alias}" for alias in aliased.get(index, [])]
        for job_id in list(found):
            for pipeline in (self.names.training_pipeline(job_id), self.names.holdout_pipeline(job_id)):
                if pipeline in pipelines:
                    found[job_id].pipelines.append(pipeline)
        return found

    def _training_steps(self, training: Training) -> Iterator[Step]:
        newest = max(training.born)
        if training.uses:
            yield Step("training", training.job_id, "keep", "; ".join(training.uses))
            return
        if newest >= self.before:
            yield Step("training", training.job_id, "keep", f"made on {newest:%Y-%m-%d}")
            return
        why = f"unused, made on {newest:%Y-%m-%d}"
        # Pipelines before the model that they name; the indices last, as the job could still be looked into.
        for kind, things in (
            ("ingest pipeline", training.pipelines),
            ("trained model", training.models),
            ("analytics job", [training.job_id] if training.job else []),
            ("index", training.indices),
        ):
            for name in sorted(things):
                yield Step(kind, name, "delete", why, part_of=training.job_id)

    def _scores(self, aliased: Mapping[str, list[str]]) -> Iterator[Step]:
        """Rescored history that `<model>_scores` has left."""
        models = map(self.names.on_cluster, self.project.models())
        prefixes = {f"{self.names.prefix}-scores-{model}-" for model in models}
        for index, born in self._indices(prefixes, jobs=False):
            if aliased.get(index):
                yield Step("index", index, "keep", f"behind the alias {', '.join(aliased[index])}")
            elif born < self.before:
                yield Step("index", index, "delete", f"replaced rescored history, made on {born:%Y-%m-%d}")

    def _anomaly_steps(self) -> Iterator[Step]:
        jobs = self._anomaly_jobs()
        newest: dict[str, int] = {}
        for job in jobs:
            name, version = versioned(job["job_id"])
            newest[name] = max(newest.get(name, 0), version)
        for job in jobs:
            job_id = job["job_id"]
            name, version = versioned(job_id)
            if version < newest[name]:
                successor = next(j for j in jobs if versioned(j["job_id"]) == (name, newest[name]))
                since = when(successor["create_time"])
                if since < self.before:
                    yield Step(
                        "anomaly job", job_id, "delete", f"replaced by {successor['job_id']} on {since:%Y-%m-%d}"
                    )
                continue
            if self.serverless:
                continue  # snapshots, forecasts and expired data are the platform's there
            yield from self._snapshots(job, name)
            yield Step("forecasts and results", job_id, "delete", "what has expired by the job's own retention")

    def _snapshots(self, job: Mapping[str, Any], name: str) -> Iterator[Step]:
        """Snapshots retained for partitions that nobody can run again, beyond `replay_days` before the newest."""
        try:
            settings = self.project.anomaly_job(self.names.in_project(name))
        except ProjectFileError:
            return
        if settings.mode != "partition":
            return
        found = self.client.ml.get_model_snapshots(job_id=job["job_id"], size=PAGE, sort="timestamp", desc=True)[
            "model_snapshots"
        ]
        reach = [s.get("latest_record_time_stamp") or s["timestamp"] for s in found]
        if not reach:
            return
        oldest = max(reach) - settings.replay_days * 86_400_000
        learnt = Learnt.of(job)
        # The oldest partition that can be run again goes back to `base`, however long before the horizon that is.
        needed = {learnt.base, job.get("model_snapshot_id"), *(one.snapshot for one in learnt.ends.values())}
        for snapshot, latest in zip(found, reach, strict=True):
            if latest < oldest and snapshot["snapshot_id"] not in needed:
                day = datetime.fromtimestamp(latest / 1000, UTC)
                yield Step(
                    "model snapshot",
                    f"{job['job_id']}/{snapshot['snapshot_id']}",
                    "delete",
                    f"of {day:%Y-%m-%d}, beyond replay_days ({settings.replay_days})",
                )


def _orphaned(meta: Mapping[str, Any], run_is_over: Callable[[str, str], bool]) -> str | None:
    dag_id, run_id = meta.get("airflow_dag"), meta.get("airflow_run")
    if dag_id and run_id and run_is_over(str(dag_id), str(run_id)):
        return f"the run {run_id} of {dag_id} is over"
    return None
