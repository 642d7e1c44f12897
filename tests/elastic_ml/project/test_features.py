"""What a project may say about its user-hours, and what follows from the pivot it writes."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from elastic_ml.exceptions import ProjectFileError
from elastic_ml.project import load_project
from elastic_ml.project.check import invalid_files
from elastic_ml.project.desired_state import desired_objects
from elastic_ml.project.features import (
    GROUP_BY,
    Feature,
    continuous_transform,
    features_of,
    mapping_of,
    month_transform,
    sources_of,
)

WEBSHOP = Path(__file__).parent / "webshop"
INCLUDE = Path(__file__).parents[3] / "include"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(WEBSHOP, tmp_path / "webshop"))


def features(folder: Path, written: str) -> Path:
    with (folder / "project.yml").open("a") as project:
        project.write(f"features: {written}\n")
    return folder


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{datset: shop.user_hour}", "features.datset: unknown key. Did you mean dataset?"),
        ("{dataset: shop.user_hour, frequency: 2h}", "features.frequency: transforms look at least once an hour"),
        ("{dataset: shop.user_hour, sync_delay: soon}", "features.sync_delay: 'soon' is no duration"),
        ("{dataset: shop_}", "features.dataset: shop_ can be no transform's name"),
        (f"{{dataset: {'a' * 48}}}", "can be no transform's name"),
        ("{dataset: shop.user_hour, transform: ../mine.json}", "features.transform"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_file_and_line(folder: Path, written: str, said: str):
    line = len((features(folder, written) / "project.yml").read_text().splitlines())
    with pytest.raises(ProjectFileError, match=rf"project\.yml:{line}: .*{re.escape(said)}"):
        load_project(folder)


def own(folder: Path, group_by: str, aggregations: str) -> list[ProjectFileError]:
    features(folder, "{dataset: shop.user_hour}")
    path = folder / "templates" / "transforms" / "user_hour.yml.j2"
    path.parent.mkdir(parents=True)
    frame = '{% include "transforms/frame.yml.j2" %}\n'
    path.write_text(f"{frame}\npivot: {{group_by: {group_by}, aggregations: {aggregations}}}\n")
    return [error for error in invalid_files(folder) if "models/" not in str(error.file)]


BY_HOUR = (
    '{user.id: {terms: {field: user.id}}, "@timestamp": {date_histogram: {field: "@timestamp", fixed_interval: 1h}}}'
)


@pytest.mark.parametrize(
    ("group_by", "aggregations", "said"),
    [
        (BY_HOUR.replace("1h", "1d"), "{n: {value_count: {field: a}}}", "does not group by user and hour"),
        (BY_HOUR, "{t: {terms: {field: a}}}", "pivot.aggregations.t: terms gives no single number"),
        (BY_HOUR, "{f: {filter: {term: {a: b}}, aggs: {p: {percentiles: {field: a}}}}}", "pivot.aggregations.f.p"),
    ],
)
def test_a_pivot_that_gives_no_user_hours_is_found_with_the_other_files(
    folder: Path, group_by: str, aggregations: str, said: str
):
    [error] = own(folder, group_by, aggregations)
    assert said in str(error)
    assert "user_hour.yml.j2" in str(error)


def test_the_numbers_and_sources_of_a_pivot_are_read_from_it(folder: Path):
    project = load_project(features(folder, "{dataset: shop.user_hour}"))
    pivot: dict[str, Any] = {
        "aggregations": {
            "events": {"value_count": {"field": "@timestamp"}},
            "late": {"filter": {"range": {"audit.hour": {"gte": 20}}}},
            "shop": {
                "filter": {"term": {"event.dataset": "shop.audit"}},
                "aggs": {"events": {"value_count": {"field": "@timestamp"}}, "most": {"max": {"field": "n"}}},
            },
            "other": {"filter": {"match_all": {}}, "aggs": {"n": {"cardinality": {"field": "a"}}}},
        }
    }  # fmt: skip
    found = list(features_of(project, pivot))
    assert found == [
        Feature("events", "long"),
        Feature("late", "long"),
        Feature("shop.events", "long"),
        Feature("shop.most", "double"),
        Feature("other.n", "long"),
    ]
    assert sources_of(pivot) == ["shop"]
    assert mapping_of(found[2:4], ["shop"]) == {
        "shop": {"properties": {"events": {"type": "long"}, "most": {"type": "double"}}},
        "has_shop": {"type": "boolean"},
    }


def test_lendpaths_user_hours_see_all_three_streams_and_no_unresolved_people():
    project = load_project(INCLUDE)
    body = continuous_transform(project)
    assert body["source"]["index"] == [stream.name for stream in project.names.audit_streams]
    assert body["source"]["query"]["bool"]["must_not"] == [{"prefix": {"user.id": {"value": "unresolved:"}}}]
    assert (body["pivot"]["group_by"], body["sync"]["time"]["field"]) == (GROUP_BY, "event.ingested")
    assert sources_of(body["pivot"]) == ["identity", "database", "application"]
    datasets = {
        name: body["pivot"]["aggregations"][name]["filter"]["term"]["event.dataset"]
        for name in sources_of(body["pivot"])
    }
    assert set(datasets.values()) == {stream.dataset for stream in project.names.audit_streams}


def test_every_feature_is_mapped_and_defaulted():
    project = load_project(INCLUDE)
    objects = {wanted.name: wanted.body for wanted in desired_objects(project)}
    properties = objects["lendpath-features"]["template"]["mappings"]["properties"]
    script = next(p["script"] for p in objects[project.names.features_prepare]["processors"] if "script" in p)["source"]
    for feature in features_of(project, continuous_transform(project)["pivot"]):
        at = {"properties": properties}
        for part in feature.path.split("."):
            at = at["properties"][part]
        assert at == {"type": feature.type}
        assert f"if (ctx.{feature.path} == null) {{ ctx.{feature.path} = 0; }}" in script


def test_a_month_runs_to_the_start_of_the_next_one():
    project = load_project(INCLUDE)
    for month, end in {"2024.02": "2024-03-01", "2024.12": "2025-01-01"}.items():
        body = month_transform(project, month)
        bounds = body["source"]["query"]["bool"]["filter"][1]["range"]["@timestamp"]
        assert bounds == {"gte": f"{month.replace('.', '-')}-01T00:00:00.000Z", "lt": f"{end}T00:00:00.000Z"}
        continuous = continuous_transform(project)
        assert (body["pivot"], body["dest"]) == (continuous["pivot"], continuous["dest"])
        assert not {"sync", "frequency"} & set(body)


def test_a_project_without_user_hours_says_how_to_get_them():
    with pytest.raises(ProjectFileError, match=r"Add `features:"):
        continuous_transform(load_project(WEBSHOP))
