"""Taking a trained model from one environment to another: as one file out, and in as a candidate like any other."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from elastic_ml.exceptions import AlreadyExistsError, InvalidRequestError, NotFoundError, NotReadyError
from elastic_ml.links.kibana import TrainedModelLink
from elastic_ml.operators.base import ElasticBaseOperator, sorted_fields
from elastic_ml.operators.evaluation import EmitCandidateOperator, EvaluateModelOperator
from elastic_ml.operators.remote_job import RemoteJob
from elastic_ml.operators.training import owner_of

if TYPE_CHECKING:
    from elastic_ml.evaluation.model_card import Holdout
    from elastic_ml.project.model import Model
    from elastic_ml.project.project import Project
    from elastic_ml.registry.model_archive import Archive
    from elastic_ml.training.imported_run import ImportedRun
    from elastic_ml.training.run import TrainingRun

CONFIGURATION = ("default_field_map", "description", "inference_config", "input", "metadata", "tags")
CARRIED = (
    "classes", "created_at", "day", "figures", "importance", "job_id", "kept", "kind", "model_name", "positive_class",
    "rows", "triggered", "windows",
)  # fmt: skip
"""Parts of the card that say how the model was made; they hold wherever it goes."""


class ExportModelOperator(ElasticBaseOperator):
    """Write a trained model with its card and baseline as one file.

    Reads the model without unpacking its definition, and its card; changes nothing on the cluster. A file that holds
    the same model with the same card already is left as it is.

    :param project_folder: the project folder.
    :param model: name of the model file (templated).
    :param model_id: the trained model; empty for the champion (templated).
    :param folder: the exchange folder (templated); see `model_archive.storage_path`.
    :return: `{model, model_id, file, sha256, bytes}`.
    :raises NotReadyError: there is no such model, it has no card, or no folder is configured.
    """

    template_fields: Sequence[str] = sorted_fields("folder", "model", "model_id")
    operator_extra_links = (TrainedModelLink(),)

    def __init__(self, *, project_folder: str, model: str, folder: str, model_id: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.model = model
        self.model_id = model_id
        self.folder = folder

    def pages(self, context: Any) -> Mapping[str, str]:
        """The model, or all versions where the champion is wanted."""
        return {"TrainedModelLink": self.model_id or self.model}

    def execute(self, context: Any) -> dict[str, Any]:
        """Read, write, and say what to give the other side."""
        from elastic_ml.project import load_project
        from elastic_ml.registry.model_archive import storage_path, write_archive
        from elastic_ml.registry.model_cards import model_behind, read_card

        project = load_project(self.project_folder)
        model_id = self.model_id or model_behind(self.client, project.names.champion(self.model))
        if model_id is None:
            raise NotReadyError(
                f"{self.model} has no champion to export.", remedy="Name the trained model: param model_id."
            )
        target = storage_path(self.folder, f"{model_id}.zip")
        card = read_card(self.client, project.names, model_id)
        if card is None or card["model_name"] != self.model:
            raise NotReadyError(
                f"{model_id} has no card as a version of {self.model}.",
                remedy="Only models that this package has judged are exported.",
            )
        # Its stage and the pages are matters of this environment.
        card = {name: value for name, value in card.items() if name not in {"stage", "html", "markdown", "evaluate"}}
        config = self._config(model_id)
        digest = write_archive(
            target,
            about={
                "project": project.name,
                "environment": project.settings.environment,
                "model_name": self.model,
                "model_id": model_id,
                "elasticsearch": ".".join(map(str, self.hook.facts.version)),
            },
            model={name: config[name] for name in CONFIGURATION if config.get(name) is not None},
            card=card,
            definition=config["compressed_definition"],
        )
        size = int(target.stat().st_size)
        self.log.info("%s is in %s, %d bytes, SHA-256 %s.", model_id, target, size, digest)
        return {"model": self.model, "model_id": model_id, "file": target.name, "sha256": digest, "bytes": size}

    def _config(self, model_id: str) -> dict[str, Any]:
        try:
            found = self.client.ml.get_trained_models(
                model_id=model_id, include="definition", decompress_definition=False, exclude_generated=True
            )
        except NotFoundError as missing:
            raise NotReadyError(f"There is no trained model {model_id}.", remedy="It was deleted.") from missing
        return dict(found["trained_model_configs"][0])


class ImportModelOperator(ElasticBaseOperator):
    """Put an exported model into this cluster under its own id (see `local_id`), to be judged here.

    Compares the checksums, then sends the model with its definition as it was packed; where it came from and how it was
    made go into its metadata. Nothing of its figures is believed: the card is written by the evaluation that follows,
    on this environment's holdout.

    :param project_folder: the project folder.
    :param file: name of the file in the exchange folder (templated).
    :param folder: the exchange folder (templated); see `model_archive.storage_path`.
    :param sha256: what the export said; empty to trust the file (templated).
    :return: `{model, model_id, reused, file, sha256}`, and for the evaluation `kept`, `classes`, `documents`, `train`.
    :raises AirflowSkipException: the model was trained here, and the file is an export of it.
    :raises AlreadyExistsError: another model has this id here; nothing was overwritten.
    :raises NotReadyError: the file is missing, damaged or of a model that this project does not have.
    """

    template_fields: Sequence[str] = sorted_fields("file", "folder", "sha256")
    operator_extra_links = (TrainedModelLink(),)

    def __init__(self, *, project_folder: str, file: str, folder: str, sha256: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.project_folder = project_folder
        self.file = file
        self.folder = folder
        self.sha256 = sha256

    def pages(self, context: Any) -> Mapping[str, str]:
        """The model, which its file is named after."""
        return {"TrainedModelLink": self.file.removesuffix(".zip")}

    def execute(self, context: Any) -> dict[str, Any]:
        """Check the file, and put the model unless it is there."""
        from airflow.sdk.exceptions import AirflowSkipException

        from elastic_ml.project import load_project
        from elastic_ml.registry.model_archive import Archive, file_digest, storage_path
        from elastic_ml.training.imported_run import origin_of

        project = load_project(self.project_folder)
        path = storage_path(self.folder, self.file)
        if not path.is_file():
            raise NotReadyError(f"There is no file {path}.", remedy="Export the model, or copy the file there.")
        digest = file_digest(path)
        if self.sha256 and self.sha256.strip().lower() != digest:
            raise NotReadyError(
                f"{path} has the SHA-256 {digest}, and {self.sha256.strip()} was expected.",
                remedy="Copy the file again; if it differs still, somebody has changed it.",
            )
        with path.open("rb") as stream:
            archive = Archive(stream, str(path))
            manifest, config, card = archive.manifest, archive.model, archive.card
            model = self._local_model(project, str(manifest["model_name"]), config, card)
            model_id = local_id(project, model.name, str(manifest["model_id"]))
            reused = self._put(archive, model_id, config, self._origin(manifest, card, digest))
        if reused and origin_of(self.client, model_id) is None:
            raise AirflowSkipException(
                f"{model_id} was trained here, and {path} is an export of it: there is nothing to import. Promote it "
                f"with {project.names.dag_id('promote', model.name)}."
            )
        self.log.info("%s is %s here; it is judged next.", model_id, "already" if reused else "now")
        return {
            "model": model.name,
            "model_id": model_id,
            "reused": reused,
            "file": self.file,
            "sha256": digest,
            "kept": card["kept"],
            "classes": card["classes"],
            "documents": card["rows"]["train_set"],
            "train": {"documents": card["rows"]["train"]},
        }

    def _local_model(
        self, project: "Project", name: str, config: Mapping[str, Any], card: Mapping[str, Any]
    ) -> "Model":
        if name not in project.models():
            raise NotReadyError(
                f"{self.file} is a version of {name}, which this project does not have.",
                remedy=f"Add models/{name}.yml, then run elastic_setup with mode=apply.",
            )
        model = project.model(name)
        inputs = sorted(set(config["input"]["field_names"]) - {"label"} - set(model.features))
        positive = str(model.label.positive_class) if model.label and model.kind == "classification" else None
        if model.kind != card["kind"] or positive != card["positive_class"] or inputs:
            raise NotReadyError(
                f"{self.file} and models/{name}.yml differ: analysis {card['kind']} and {model.kind}, positive class "
                f"{card['positive_class']} and {positive}, inputs that are no feature here: "
                f"{', '.join(inputs) or 'none'}.",
                remedy="Bring the same model file into both environments.",
            )
        return model

    def _origin(self, manifest: Mapping[str, Any], card: Mapping[str, Any], digest: str) -> dict[str, Any]:
        carried = {name: card[name] for name in CARRIED}
        about = {name: manifest.get(name) for name in ("project", "environment", "elasticsearch")}
        return {**about, "sha256": digest, "card": carried}

    def _put(self, archive: "Archive", model_id: str, config: Mapping[str, Any], origin: Mapping[str, Any]) -> bool:
        """Put the model; returns whether it was there."""
        from elastic_ml.training.imported_run import ORIGIN

        definition = archive.definition
        body = {
            **{name: config[name] for name in CONFIGURATION if config.get(name) is not None},
            # Its job's tag would make a job of the same id here take it for its own model.
            "tags": ["imported"],
            # Nor is there the job that its metadata describes.
            "metadata": {ORIGIN: dict(origin)},
            "compressed_definition": definition,
        }
        if self._is_there(model_id, definition):
            return True
        try:
            self.client.ml.put_trained_model(model_id=model_id, body=body)
        except AlreadyExistsError:
            # The answer of our own request was lost, or somebody was faster.
            return self._is_there(model_id, definition)
        except InvalidRequestError as error:
            if error.status != 413:
                here = ".".join(map(str, self.hook.facts.version))
                raise NotReadyError(
                    f"{model_id} was exported from Elasticsearch {origin['elasticsearch']}, and this one, {here}, "
                    f"refuses it: {error.message}",
                    remedy="Bring this cluster to that version, or train the model here.",
                ) from error
            raise NotReadyError(
                f"{model_id} is {len(definition) / 1_048_576:,.0f} MB as one request, and this cluster takes no such "
                f"request: {error.message}",
                remedy="Raise http.max_content_length on its nodes (100mb by default; a proxy before them may have a "
                "limit of its own), or train a smaller model: fewer max_trees or features. Elasticsearch takes tree "
                "models in one piece only.",
            ) from error
        return False

    def _is_there(self, model_id: str, definition: str) -> bool:
        from elastic_ml.registry.model_archive import same_definition

        try:
            found = self.client.ml.get_trained_models(
                model_id=model_id, include="definition", decompress_definition=False
            )["trained_model_configs"][0]
        except NotFoundError:
            return False
        if found["model_id"] != model_id or not same_definition(found["compressed_definition"], definition):
            raise AlreadyExistsError(
                f"There is a trained model {model_id} here, and it is another one than in {self.file}.",
                remedy="Nothing was overwritten. Compare their cards; delete the one here if it is not needed.",
                status=400,
            )
        return True


class EvaluateImportedModelOperator(EvaluateModelOperator):
    """Judge an imported model as one that was trained here: on the local holdout, beside the local champion.

    Sends what `EvaluateModelOperator` sends, after the execution of the verdicts' enrich policy. The card is a local
    one: figures, baseline and limits are measured here; training window, kept shares and importance are the model's
    own, and `imported_from` says where it comes from.

    :param project_folder: the project folder.
    :param model: name of the model file (templated).
    :param run: the run's parameters, `training.RUN_TEMPLATE` (templated).
    :param model_id: the trained model (templated).
    :return: as `EvaluateModelOperator`.
    :raises NotReadyError: the model was not imported, or nothing of the holdout is left to judge it on.
    """

    template_fields: Sequence[str] = sorted_fields("model", "model_id", "run")

    @cached_property
    def _origin(self) -> dict[str, Any]:
        from elastic_ml.training.imported_run import origin_of

        origin = origin_of(self.client, self.model_id)
        if origin is None:
            raise NotReadyError(
                f"{self.model_id} was not imported by this package.", remedy="Clear the import, then this task."
            )
        return origin

    def submit(self, context: Any, job: RemoteJob) -> RemoteJob:
        """Refresh the verdicts' snapshot, which a training here would have done, then start the scoring."""
        from elastic_ml.training.training_set import policy_of, refresh_verdicts

        if not job.id:
            run = self._run()
            refresh_verdicts(self.client, run, policy_of(self.client, run), owner=owner_of(context))
        return super().submit(context, job)

    def _run(self) -> "ImportedRun":
        from elastic_ml.training.imported_run import ImportedRun

        run = ImportedRun.of(self.project_folder, self.model, dict(self.run))._replace(word="import")
        run.origin, run.model_id = self._origin, self.model_id
        return run

    def _card(
        self,
        context: Any,
        run: "TrainingRun",
        about: Mapping[str, Any],
        holdout: "Holdout",
        rows: int,
        training_set: Mapping[str, Any],
        readiness: Mapping[str, Any],
    ) -> dict[str, Any]:
        from elastic_ml.evaluation import model_card

        card = super()._card(context, run, about, holdout, rows, training_set, readiness)
        theirs = self._origin["card"]
        card["importance"] = theirs["importance"]
        card["imported_from"] = {
            **{name: self._origin.get(name) for name in ("project", "environment", "elasticsearch", "sha256")},
            **{name: theirs[name] for name in ("job_id", "day", "figures")},
            "requested_by": theirs["triggered"].get("by"),
        }
        card["markdown"] = model_card.render_markdown(card, run.project.templates)
        card["html"] = model_card.render_html(card, run.project.templates)
        return card


def local_id(project: "Project", model: str, exported: str) -> str:
    """Id of an exported model here: its own, with the `id_prefix` of this project in place of the other's.

    Where two environments share a cluster, each has a copy of its own: neither can delete the other's.
    """
    version = exported.partition(f"{model}-")[2]
    return f"{project.names.on_cluster(model)}-{version}" if version else exported


class EmitImportedCandidateOperator(EmitCandidateOperator):
    """Offer an imported model for promotion: one event of its own model's candidate asset, none of the others'.

    :param project_folder: the project folder.
    :param import_task_id: the task that put the model.
    """

    def __init__(self, *, import_task_id: str = "import", **kwargs: Any) -> None:
        super().__init__(model="", **kwargs)
        self.import_task_id = import_task_id

    def execute(self, context: Any) -> dict[str, Any]:
        """Emit the event, or skip with a sentence."""
        from elastic_ml.project import load_project

        model = context["ti"].xcom_pull(task_ids=self.import_task_id)["model"]
        name, _ = load_project(self.project_folder).names.candidate_asset(model)
        # Airflow writes an event for every outlet of a task that succeeds.
        self.outlets = [outlet for outlet in self.outlets if outlet.name == name]
        return super().execute(context)
