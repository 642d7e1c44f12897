"""Each mistake is found before anybody imports it, and the sentence names file, panel, field and remedy."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_ml.exceptions import PartialFailureError
from elastic_ml.kibana_bundle import build_bundle
from elastic_ml.kibana_bundle.__main__ import main
from elastic_ml.kibana_bundle.lint import object_problems
from elastic_ml.project import load_project

PROJECT = """
name: shop
namespace: shop
streams: [{dataset: shop.audit}]
lifecycle: {audit: {delete_after: 30d}}
kibana: {folders: [assets]}
"""
GOOD = """
title: Sales
description: What is sold.
tags: [shop]
time: {from: now-24h}
controls: [{field: model_name, title: Model, data_view: sales}]
panels:
  - title: Sold
    chart: line
    at: {x: 0, y: 0, w: 24, h: 8}
    esql: |
      FROM {{ names.predictions }}
      | STATS sold = SUM(count) BY at = BUCKET(@timestamp, 50, ?_tstart, ?_tend)
      | SORT at
      | LIMIT 100
    x: {column: at}
    y: [{column: sold}]
    empty: nothing was sold.
  - title: Total
    chart: metric
    at: {x: 24, y: 0, w: 24, h: 8}
    esql: FROM {{ names.predictions }} | STATS sold = SUM(count)
    value: {column: sold}
    empty: never.
"""
VIEW = "{called: Sales, pattern: '{{ names.predictions }}'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for kind, name, text in (("dashboards", "sales", GOOD), ("data_views", "sales", VIEW)):
        (tmp_path / "assets" / kind).mkdir(parents=True)
        (tmp_path / "assets" / kind / f"{name}.yml").write_text(text, encoding="utf-8")
    (tmp_path / "project.yml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def problems(folder: Path, text: str | None = None) -> str:
    if text is not None:
        (folder / "assets" / "dashboards" / "sales.yml").write_text(text, encoding="utf-8")
    with pytest.raises(PartialFailureError) as caught:
        build_bundle(load_project(folder))
    return str(caught.value)


def test_what_is_right_has_no_problem(folder: Path) -> None:
    assert len(build_bundle(load_project(folder)).objects) == 3


MISTAKES = [
    ("x: {column: at}", "x: {column: day}", ["sales.yml:16", "panels.0.x (Sold)", "column 'day'", "one of sold, at"]),
    ("chart: line", "chart: sparkline", ["sales.yml:9", "panels.0.chart", "'sparkline'"]),
    ("time: {from: now-24h}", "", ["sales.yml", "time", "no time range is restored", "now-24h"]),
    ("{from: now-24h}", "{from: '2026-01-01'}", ["time.from", "no time relative to now", "now-24h"]),
    ("{from: now-24h}", "{from: now-24h, to: now-1h}", ["time.to", "is not now"]),
    ("tags: [shop]", "", ["tags", "has no tag", "elastic-ml"]),
    ("{x: 24, y: 0", "{x: 23, y: 0", ["panels.1.at", "'Total' overlaps 'Sold'", "Move one"]),
    ("{x: 24, y: 0", "{x: 30, y: 0", ["panels.1.at", "ends in column 54 of 48"]),
    ("data_view: sales", "data_view: rent", ["controls.0.data_view", "no data view 'rent'", "that is there: sales"]),
    ("title: Total", "title: Sold!", ["panels.1.title", "Choose another title"]),
    ("| SORT at", "| WHERE at > NOW() - 1 day | SORT at", ["panels.0.esql (Sold)", "NOW() in WHERE", "Remove it"]),
    ("      | LIMIT 100\n", "", ["panels.0.esql (Sold)", "1000 rows", "LIMIT"]),
    ("      | SORT at\n", "", ["panels.0.esql (Sold)", "order", "SORT it"]),
    ("    x: {column: at}\n", "    time_field: none\n    x: {column: at}\n", ["time_field", "?_tstart"]),
    ("| STATS sold = SUM(count)\n", "| KEEP *\n", ["panels.1.esql (Total)", "depends on the index", "KEEP"]),
    ("names.predictions", "names.prediction", ["sales.yml:11", "panels.0.esql", "prediction", "names"]),
    ("    empty: never.\n", "", ["panels.1", "metric has no empty", "Add `empty:`"]),
    ("    empty: never.\n", "    empty: never.\n    text: hi\n", ["panels.1.text", "a metric has no text", "Remove"]),
    ("value: {column: sold}", "value: {column: sold, levels: [{from: 2, color: bad}, {from: 1, color: bad}]}",
     ["levels", "do not rise", "Sort them"]),
    ("value: {column: sold}", "value: {colum: sold}", ["panels.1.value.colum", "unknown key", "Did you mean column?"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "said"), MISTAKES, ids=[str(said[-1]) for *_, said in MISTAKES])
def test_a_mistake_in_a_file_is_told(folder: Path, before: str, after: str, said: list[str]) -> None:
    assert GOOD.count(before)
    sentence = problems(folder, GOOD.replace(before, after, 1))
    for part in said:
        assert part in sentence


def test_every_problem_is_told_at_once_and_the_command_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = problems(folder, GOOD.replace("tags: [shop]", "").replace("now-24h", "today"))
    assert sentence.startswith("2 problems")
    assert main([str(folder), "--out", str(folder / "out")]) == 1
    assert "has no tag" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_the_command_writes_one_file_and_prints_one_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--out", str(folder / "out")]) == 0
    assert (folder / "out" / "shop.ndjson").read_bytes() == build_bundle(load_project(folder)).ndjson
    told = capsys.readouterr().out
    assert "dashboard  ml-sales     Sales  2" in told
    assert "shop.ndjson: 3 objects" in told


def test_a_folder_that_is_not_there_is_told_with_its_line(folder: Path) -> None:
    (folder / "project.yml").write_text(PROJECT.replace("assets", "asset"), encoding="utf-8")
    with pytest.raises(
        Exception, match=r"project.yml:6: kibana.folders.0: there is no folder .*asset\. Correct the path"
    ):
        build_bundle(load_project(folder))


# Saved objects, also of others ----------------------------------------------------------------------------------------


def told(objects: list[dict[str, Any]]) -> str:
    return "\n".join(map(str, object_problems(objects)))


def changed(objects: list[dict[str, Any]], change: Any) -> list[dict[str, Any]]:
    made = deepcopy(objects)
    dashboard = made[-1]
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    change(dashboard, panels)
    dashboard["attributes"]["panelsJSON"] = json.dumps(panels)
    return made


BROKEN = {
    "a dropped data view": (lambda d, p: d["references"].append({"type": "index-pattern", "id": "gone", "name": "x"}),
                            "refers to index-pattern gone, which is not in the bundle"),
    "a dropped reference": (lambda d, p: d["references"].clear(), "lacks this reference"),
    "a name twice": (lambda d, p: d["references"].append(dict(d["references"][0])), "two references have this name"),
    "another panel id": (lambda d, p: p[0]["gridData"].update(i="x"), "ids are not its own"),
    "a lost data source": (lambda d, p: p[0]["embeddableConfig"]["attributes"]["state"]["adHocDataViews"].clear(),
                           "names no ad-hoc data view"),
    "a lost column": (lambda d, p: layer(p)["columns"].pop(), "y_sold is no column of its layers"),
    "no time field": (lambda d, p: layer(p).pop("timeField"), "has no time field"),
    "a newer form": (lambda d, p: p[0]["embeddableConfig"]["attributes"].update(version=2), "not read by every Kibana"),
    "a newer type": (lambda d, p: d.update(typeMigrationVersion="10.4.0"), "no version that 9.2 to 9.5 all read"),
    "a token": (lambda d, p: d.update(version="1"), "no version that 9.2 to 9.5 all read"),
    "no time": (lambda d, p: d["attributes"].update(timeRestore=False), "no time range is restored"),
}  # fmt: skip


def layer(panels: list[dict[str, Any]]) -> dict[str, Any]:
    found = panels[0]["embeddableConfig"]["attributes"]["state"]["datasourceStates"]["textBased"]["layers"]
    return next(iter(found.values()))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_object_is_told(name: str, folder: Path) -> None:
    objects = list(build_bundle(load_project(folder)).objects)
    change, said = BROKEN[name]
    assert said in told(changed(objects, change))


def test_an_id_twice_is_told(folder: Path) -> None:
    objects = list(build_bundle(load_project(folder)).objects)
    assert "dashboard ml-sales: id: two objects have this id" in told([*objects, objects[-1]])


def test_files_are_plain_yaml() -> None:
    for path in (Path(__file__).parents[2] / "kibana").rglob("d*/*.yml"):
        assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_example_of_the_documentation_is_right(project: Any, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    blocks = (root / "docs" / "dashboards.md").read_text(encoding="utf-8").split("```yaml\n")
    (example,) = (block.partition("```")[0] for block in blocks if block.startswith("title:"))
    (tmp_path / "dashboards").mkdir()
    (tmp_path / "dashboards" / "logins.yml").write_text(example, encoding="utf-8")
    made = build_bundle(project, [root / "kibana" / "platform", tmp_path])
    assert "ml-logins" in {one["id"] for one in made.objects}
