"""A reader of one page: a folder, a sandbox, and what is done with a block of each language."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from console import syntax as console
from elasticsearch import ElasticsearchWarning, NotFoundError
from harness.esql import syntax_errors
from harness.reference_pages import REFERENCE, examples

from docs import commands
from docs.commands import RAN
from docs.pages import ROOT, Block
from elastic_ml.clients.elasticsearch import server_facts
from elastic_ml.exceptions import ProjectFileError
from elastic_ml.kibana.rules import RuleFile, rules_of
from elastic_ml.kibana_bundle import asset_folders, build_bundle
from elastic_ml.kibana_bundle.description import Dashboard
from elastic_ml.project import load_project
from elastic_ml.project.anomaly_job import AnomalyJob
from elastic_ml.project.anomaly_partitions import Learnt
from elastic_ml.project.check import findings
from elastic_ml.project.model import Model
from elastic_ml.project.settings import ProjectSettings
from elastic_ml.project.setup import run_setup
from elastic_ml.project.source import Source
from elastic_ml.project.yaml_files import FileModel, read_file
from elastic_ml.sources.verdicts import verdict_document

LOADED = "loaded by the product"
LATER = "run by `make chaos`"

PROJECT = {
    "name": "shop",
    "namespace": "eu",
    "streams": [{"dataset": "shop.audit"}],
    "lifecycle": {"audit": {"delete_after": "400d"}},
}
MODEL = {
    "owner": "fraud",
    "source": {"index": ["logs-shop.audit-eu"]},
    "label": {"verdicts": "by_event", "positive_class": "true"},
    "label_delay": "14d",
    "windows": {"train": "90d", "holdout": "14d"},
    "features": ["event.action"],
    "analysis": {"classification": {}},
    "gate": {"auc_roc": 0.8},
    "approval": {"mode": "person", "approvers": [], "timeout": "24h"},
    "serve": {"pipeline": "shop-audit@score", "review_capacity": 50},
}
JOB = {
    "owner": "security",
    "job": {"analysis_config": {"bucket_span": "1h", "detectors": [{"function": "count"}]}},
    "datafeed": {"indices": ["logs-shop.audit-eu"]},
    "mode": "partition",
}
SHAPES: list[tuple[type[FileModel], dict[str, Any], dict[str, Any]]] = [
    (Source, {}, {"name": "trail"}),
    (Model, MODEL, {"name": "misuse"}),
    (AnomalyJob, JOB, {"name": "logins"}),
    (ProjectSettings, PROJECT, {}),
    (Dashboard, {}, {"name": "own"}),
    (RuleFile, {}, {}),
]
"""The product's files: what reads them, what a part of one is completed with, and what their name gives."""


class Reader:
    """One reader of one page: a folder, the names of their Python, and a sandbox if they need one."""

    def __init__(self, folder: Path, fixture: Callable[[str], Any], *, patient: bool) -> None:
        self.folder = folder
        self.fixture = fixture
        self.patient = patient
        self.names: dict[str, Any] = {}
        self.said: list[str] = []
        self.answer: Any = None
        self.waits = False

    def follow(self, block: Block) -> Iterator[str]:
        """Do what a block says; yields what was done, and raises where it is wrong."""
        if block.marker == "not run":
            yield f"not run: {block.said}"
            return
        self.waits |= block.marker == "long" and not self.patient
        if self.waits and (block.marker == "printed" or block.language == "console"):
            yield LATER
            return
        treat = getattr(self, f"_{block.language}", None)
        assert treat, f"a block of {block.language or 'no language'}: name one that is known, or mark it `not run`"
        told = treat(block)
        yield from [told] if isinstance(told, str) else told

    def _python(self, block: Block) -> str:
        if block.page.parent == REFERENCE:
            assert block.text + "\n" in examples(block.page.stem)
            return f"{RAN}, by the tests of the reference pages"
        if block.marker == "given":
            self.names |= {name: self._given(name) for name in block.said.split(", ")}
        text = self._here(block.text)
        if "__file__" in text:
            self._be_in_a_clone()
            self.names["__file__"] = str(self.folder / "dags" / "example.py")
        exec(compile(text, str(block), "exec"), self.names)
        return RAN

    def _given(self, name: str) -> Any:
        """What an example takes from around it."""
        if name == "client":
            client = self.fixture("elasticsearch")
            detectors = {"bucket_span": "1h", "detectors": [{"function": "count"}]}
            time = {"time_field": "@timestamp"}
            client.ml.put_job(job_id="bulk_reads", analysis_config=detectors, data_description=time)
            return client
        around = {
            "request": SimpleNamespace(id="r-0"),
            "model": SimpleNamespace(predict=sum),
            "features": [0.25, 0.5],
        }
        return around[name]

    def _be_in_a_clone(self) -> None:
        """Where the reader has made no project folder, the use case's."""
        if not (self.folder / "include").exists():
            (self.folder / "include").symlink_to(ROOT / "include")

    def _yaml(self, block: Block) -> str:
        made = self.folder / "include"
        if block.file and (made / "project.yml").exists() and not made.is_symlink():
            self._write(block)
            return LOADED
        said = yaml.safe_load(block.text)
        refused = []
        for shape, rest, name in SHAPES:
            known = {field.alias or key for key, field in shape.model_fields.items()}
            if not said.keys() <= known:
                continue
            file = self.folder / "block.yml"
            for text in (block.text, yaml.safe_dump({**rest, **said})):
                file.write_text(text)
                try:
                    read_file(file, shape, defaults=name)
                except ProjectFileError as error:
                    refused.append(str(error))
                else:
                    if shape is RuleFile or "kibana" in said:
                        self._rules(said, file)
                    return LOADED
        raise AssertionError(f"nothing of the product reads this: {refused or sorted(said)}")

    def _rules(self, said: dict[str, Any], file: Path) -> None:
        """The rules of a project with this in its project.yml, or with this as one more of its rules."""
        folder = self.folder / "project"
        (folder / "rules").mkdir(parents=True, exist_ok=True)
        (self.folder / "kibana").unlink(missing_ok=True)
        (self.folder / "kibana").symlink_to(ROOT / "kibana")
        kibana = said.get("kibana", {"folders": ["platform", "."]})
        (folder / "project.yml").write_text(yaml.safe_dump({**PROJECT, "kibana": kibana}))
        if "kibana" not in said:
            (folder / "rules" / "own.yml").write_text(file.read_text())
        project = load_project(folder)
        dashboards = {str(one["id"]) for one in build_bundle(project).objects if one["type"] == "dashboard"}
        assert rules_of(project, asset_folders(project), dashboards)

    def _write(self, block: Block) -> None:
        assert block.file
        path = self.folder / self._here(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._here(block.text) + "\n", encoding="utf-8")

    def _here(self, text: str) -> str:
        """The same with the data of a reader's machine in this reader's folder."""
        return re.sub(r"(?<![\w.])/(tmp/shop|var/log)\b", rf"{self.folder}/\1", text)

    def _shell(self, block: Block) -> list[str]:
        server = None if self.waits else lambda: self.fixture("sandbox")
        done = commands.run(block.text, self.folder, server, self.said)
        return [LATER if self.waits and one.startswith("read: airflow dags test") else one for one in done]

    _bash = _shell

    def _cluster(self) -> Any:
        """A client of the page's sandbox, which a project has set up."""
        client = self.fixture("elasticsearch")
        if not (self.folder / "dags").is_dir():
            (self.folder / "project.yml").write_text(yaml.safe_dump(PROJECT))
            run_setup(client, load_project(self.folder), server_facts(client), mode="apply").raise_for_state()
        return client

    def _console(self, block: Block) -> str:
        client = self._cluster()

        def send(method: str, path: str, body: Any) -> Any:
            headers = {"accept": "application/json", "content-type": "application/json"}
            self.answer = client.perform_request(method, f"/{path}", body=body, headers=headers).body
            return self.answer

        client.indices.refresh()  # a person types slower than the refresh interval
        try:
            assert console.run(block.text, send, {})
        except NotFoundError as missing:
            if missing.error != "index_not_found_exception":
                raise
            return f"{RAN}, for data that is not there"
        return RAN

    def _esql(self, block: Block) -> str:
        assert syntax_errors(block.text) == []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ElasticsearchWarning)  # a person is told of the default limit, too
            assert self._cluster().esql.query(query=block.text)["columns"]
        return RAN

    def _json(self, block: Block) -> str:
        if block.marker == "printed":
            assert _part_of(json.loads(block.text), self.answer), f"the answer was {self.answer}"
            return f"{RAN}, and printed as it says"
        if block.file:
            assert all(isinstance(json.loads(line), dict) for line in block.text.splitlines())
            self._write(block)
            return f"{RAN}: a file that the next commands read"
        if block.marker == "lines":
            line = json.dumps(json.loads(block.text))
            assert _part_of(json.loads(line), self._through_logstash(block.said, [line])[0])
            return RAN
        said = json.loads(block.text if block.text.startswith("{") else f"{{{block.text}}}")
        if said.keys() == {"partitions"}:
            assert Learnt.of({"custom_settings": said}).to_settings() == said["partitions"]
        else:
            assert verdict_document(said)["verdict"]["decision"] == said["verdict"]
        return LOADED

    def _csv(self, block: Block) -> str:
        from elastic_ml.sources.people import NameTable

        file = self.folder / "names.csv"
        file.write_text(block.text + "\n", encoding="utf-8")
        table = NameTable.read("trail", file)
        assert not any(table.person(line.split(",")[0]).startswith("unresolved") for line in block.text.splitlines())
        return LOADED

    def _conf(self, block: Block) -> str:
        """A file of the reader's own beside the shipped pipelines: its first line says where."""
        from elastic_sandbox.logstash.lint import lint

        there = shutil.copytree(ROOT / "logstash", self.folder / "logstash")
        (there / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text + "\n", encoding="utf-8")
        assert lint(there) == []
        record = {"when": "2026-01-15T09:12:44Z", "action": "view", "loan": {"id": "l-1"}}
        [document] = self._through_logstash("internal.audit", [json.dumps(record)], there)
        assert str(document["@timestamp"]).startswith("2026-01-15T09:12:44")
        assert document["audit"]["loan_id"] == "l-1"
        return RAN

    def _through_logstash(self, dataset: str, lines: list[str], folder: Path = ROOT / "logstash") -> list[Any]:
        """The documents that the pipelines of a folder make of lines."""
        from elastic_sandbox.logstash.runner import Runner

        runner = Runner(folder)
        stream = {"type": "logs", "dataset": dataset, "namespace": "default"}
        for line in lines:
            runner.beats([{"message": line, "data_stream": stream}])
        runner.drain()
        assert not runner.lost, runner.lost
        assert len(runner.written) == len(lines)
        return [written.document for written in runner.written]

    def _text(self, block: Block) -> str:
        if block.marker == "printed":
            missing = [line for line in block.text.splitlines() if not any(each.startswith(line) for each in self.said)]
            assert not missing, f"{missing} is not in what the command prints: {self.said}"
            return f"{RAN}, and printed as it says"
        assert block.marker == "lines", "mark it: `printed`, `lines` of a log, or `not run` with the reason"
        self._through_logstash(block.said, block.text.splitlines())
        return RAN

    def _mermaid(self, block: Block) -> str:
        """Only that a block is a flowchart, which every forge and the site's theme draw."""
        assert re.match(r"flowchart (LR|TB)\n", block.text)
        return "not run: a drawing; nothing but a browser reads Mermaid"

    def finish(self) -> None:
        """What the reader has in the end is right: the project folder that the page wrote."""
        made = self.folder / "include"
        if (made / "project.yml").exists() and not made.is_symlink():
            assert findings(made) == []


def _part_of(said: Any, whole: Any) -> bool:
    """Whether an answer holds what a page shows of it; a list by its first elements."""
    if isinstance(said, dict):
        return isinstance(whole, dict) and all(_part_of(value, whole.get(key)) for key, value in said.items())
    if isinstance(said, list):
        return isinstance(whole, list) and len(whole) >= len(said) and all(map(_part_of, said, whole))
    return bool(said == whole)
