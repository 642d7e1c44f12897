"""Dashboards as pages: each panel from its saved state and live data, and nothing drawn that is not so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from harness.repeated_work import PLAIN_HTTP
from sandbox.pages_world import NOON, Pages, columns_of, dashboard, lens, metric, palette, table, xy

from elastic_sandbox.testing import Sandbox

CONTRACTS = Path(os.environ.get("ELASTIC_CONTRACTS", Path(__file__).parents[3] / "shared" / "contracts"))
BY_MODEL = "FROM calls | STATS p = AVG(ms) BY at = BUCKET(@timestamp, 5 minutes), model | SORT at"
KEYWORDS = ("log.level", "agent.name", "agent.version", "source.ip", "geo.src", "geo.dest", "request.method",
            "response.keyword")  # fmt: skip
NUMBERS = ("bytes", "response_time", "system.cpu.total.pct", "system.disk.used.pct", "system.memory.used.pct",
           "system.uptime.pct", "storage.used.bytes", "storage.total.bytes")  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</text></svg><script>alert(2)</script>",
    "javascript:alert(3)",
    "{{ 7 * 7 }} {% raw %}",
    "long " + "x" * 10_000,
    "\u202egnp.txt \u0645\u0631\u062d\u0628\u0627",
    "a\u0000b\u0007c\ud7ff",
)


@pytest.fixture
def pages(sandbox: Sandbox) -> Iterator[Pages]:
    sandbox.clock.freeze(NOON)
    with httpx.Client(base_url=sandbox.kibana_url, timeout=60, verify=PLAIN_HTTP) as http:
        found = Pages(sandbox, http)
        found.calls()
        yield found


# Where it is ----------------------------------------------------------------------------------------------------------


def test_dashboards_are_listed_with_links_to_each(pages: Pages) -> None:
    pages.save(dashboard())
    listed = pages.get("/app/dashboards")
    assert "/app/dashboards/view/watch" in [one["href"] for one in listed.all("a")]
    assert "What models do" in listed.text


def test_the_list_asks_for_what_stands_behind_the_hash_as_a_path(pages: Pages) -> None:
    assert [one["src"] for one in pages.get("/app/dashboards").all("script")] == ["/ui/fragment.js"]
    assert 'location.hash.startsWith("#/")' in pages.http.get("/ui/fragment.js").text


def test_a_page_in_a_space_shows_the_space_s_objects_and_stays_in_it(pages: Pages) -> None:
    pages.post("/api/spaces/space", {"id": "team", "name": "Team"})
    pages.save(dashboard(), space="/s/team")
    pages.get("/app/dashboards/view/watch", status=404)
    links = [str(one["href"]) for one in pages.get("/s/team/app/dashboards").all("a")]
    assert "/s/team/app/dashboards/view/watch" in links
    assert all(link.startswith("/s/team/") for link in links)
    assert "There is no space [nobody]." in pages.get("/s/nobody/app/dashboards", status=404).text


def test_what_is_no_page_says_so(pages: Pages) -> None:
    assert "no page /app/canvas" in pages.get("/app/canvas", status=404).text
    assert "Saved object [dashboard/x] not found" in pages.get("/app/dashboards/view/x", status=404).text
    assert pages.http.get("/ui/../secret").status_code == 404


def test_no_page_may_load_or_run_anything_of_another_origin(pages: Pages) -> None:
    policy = pages.http.get("/app/home").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self' 'unsafe-inline'; script-src 'self';")


# What is drawn --------------------------------------------------------------------------------------------------------


def test_lines_areas_and_bars_over_time_are_drawn_with_a_legend(pages: Pages) -> None:
    page = pages.dashboard(
        *(xy(one, BY_MODEL, "at", "p", "model") for one in ("line", "area", "area_stacked", "bar", "bar_stacked"))
    )
    drawn = [str(one.get("class")) for one in page.all("g") if "role-mark" in str(one.get("class"))]
    assert [sum(f"mark-{mark} " in one for one in drawn) for mark in ("line", "area", "rect")] == [6, 4, 2]
    assert page.text.count("fraud outliers") == 5
    assert "10:30" in page.text, "ticks are in UTC, in the form of 24 hours"


def test_stacked_bars_stand_on_each_other_and_bars_side_by_side_do_not(pages: Pages) -> None:
    query = "FROM calls | STATS n = SUM(n) BY at = BUCKET(@timestamp, 1 day), model"

    def tops(series: str) -> set[str]:
        page = pages.dashboard(xy(series, query, "at", "n", "model"), timeFrom="now-2d")
        labels = [str(one.get("aria-label")) for one in page.all("path") if one.get("aria-roledescription") == "bar"]
        return {found[1] for label in labels if (found := re.search(r"\by: ([\d,]+)", label))}

    assert tops("bar_stacked") == {"96", "192"}
    assert tops("bar") == {"96"}


def test_bars_by_name_lie_along_the_other_axis_when_horizontal(pages: Pages) -> None:
    query = "FROM calls | STATS p = MAX(ms) BY model | SORT p DESC"
    assert {"fraud", "outliers"} <= set(pages.dashboard(xy("bar_horizontal", query, "model", "p")).texts)


def test_a_gap_in_the_data_is_a_gap_in_the_line(pages: Pages) -> None:
    query = 'FROM calls | WHERE @timestamp < "2026-03-02T10:30:00Z" OR @timestamp > "2026-03-02T11:30:00Z" | '
    query += "STATS p = MAX(ms) BY at = BUCKET(@timestamp, 5 minutes)"

    def strokes(fitting: str) -> int:
        page = pages.dashboard(xy("line", query, "at", "p", fittingFunction=fitting))
        lines = [one for one in page.all("path") if one.get("aria-roledescription") == "line mark"]
        return max(str(one["d"]).count("M") for one in lines)

    assert strokes("None") == 2
    assert strokes("Linear") == 1


def test_a_threshold_in_a_second_layer_is_a_line_over_the_first(pages: Pages) -> None:
    panel = xy("line", BY_MODEL, "at", "p", "model")
    state = panel["embeddableConfig"]["attributes"]["state"]
    query = f"{BY_MODEL} | STATS BY at | EVAL threshold = 20"
    columns = [{"columnId": "lx", "fieldName": "at"}, {"columnId": "ly", "fieldName": "threshold", "label": "too slow"}]
    state["datasourceStates"]["textBased"]["layers"]["limit"] = {
        "query": {"esql": query},
        "columns": columns,
        "timeField": "@timestamp",
    }
    drawn = {"layerId": "limit", "layerType": "data", "seriesType": "line", "xAccessor": "lx", "accessors": ["ly"],
             "yConfig": [{"forAccessor": "ly", "color": "#CC5642"}]}  # fmt: skip
    state["visualization"]["layers"].append(drawn)
    page = pages.dashboard(panel)
    assert "too slow" in page.text
    assert "#CC5642" in {one.get("stroke") for one in page.all("path")}


def test_a_metric_is_a_figure_in_the_colour_of_its_level(pages: Pages) -> None:
    levels = palette((0, "#209280"), (20, "#D6BF57"), (30, "#CC5642"))
    page = pages.dashboard(
        metric("FROM calls | STATS worst = MAX(ms)", "worst", palette=levels),
        metric("FROM calls | STATS best = MIN(ms)", "best", palette=levels),
        metric("FROM calls | STATS p = AVG(ms) BY model | SORT model", "p", breakdownByAccessor="model"),
    )
    styles = [str(one["style"]) for one in page.all("div") if one.get("class") == "figure" and one.get("style")]
    assert [style.split(";")[0] for style in styles] == ["background:#CC5642", "background:#209280"]
    assert "worst 33" in page.text
    assert "fraud p 21.5 outliers p 5" in page.text


def test_a_table_has_rows_labels_formats_and_colours(pages: Pages) -> None:
    query = "FROM calls | STATS share = SUM(n) / 1000.0, newest = MAX(@timestamp), p = MAX(ms) BY model | SORT model"
    panel = table(
        query, "model", "share", "newest", {"columnId": "p", "colorMode": "cell", "palette": palette((0, "#209280"))}
    )
    columns = columns_of(panel)
    columns[1] |= {"label": "Share of all", "params": {"format": {"id": "percent", "params": {"decimals": 1}}}}
    columns[3] |= {"params": {"format": {"id": "number", "params": {"decimals": 0, "suffix": " ms"}}}}
    page = pages.dashboard(panel)
    assert (
        "model Share of all newest p fraud 9.6% 2026-03-02 11:55 33 ms outliers 9.6% 2026-03-02 11:55 5 ms" in page.text
    )
    assert "background:#209280;color:#ffffff" in {one.get("style") for one in page.all("td")}


def test_a_table_is_sorted_as_its_state_says_nothing_last(pages: Pages) -> None:
    query = 'FROM calls | STATS p = MAX(ms) BY model | EVAL p = CASE(model == "fraud", NULL, p) | SORT model'
    page = pages.dashboard(table(query, "model", "p", sorting={"columnId": "p", "direction": "desc"}))
    assert page.text.index("outliers 5") < page.text.index("fraud –")


def test_a_heatmap_is_drawn_in_the_colours_of_its_levels(pages: Pages) -> None:
    query = "FROM calls | STATS p = MAX(ms) BY at = BUCKET(@timestamp, 30 minutes), model"
    vis = {"shape": "heatmap", "valueAccessor": "p", "xAccessor": "at", "yAccessor": "model",
           "palette": palette((0, "#209280"), (30, "#CC5642"))}  # fmt: skip
    page = pages.dashboard(lens("lnsHeatmap", query, ["at", "model", "p"], vis))
    fills = [one.get("fill") for one in page.all("path") if one.get("fill") in {"#209280", "#CC5642"}]
    assert fills.count("#CC5642") == 1
    assert fills.count("#209280") == 7
    assert "from 0 from 30" in page.text


def test_markdown_is_shown_without_its_html_and_links_lead_on(pages: Pages) -> None:
    words = "# Judge\n\n[record](https://airflow.example/dags/record_verdict) [bad](javascript:alert(1)) <b>x</b>"
    vis = {"type": "markdown", "params": {"markdown": words}}
    links = [
        {"type": "dashboardLink", "id": "a", "order": 0, "label": "Here", "destinationRefName": "link_a_dashboard"},
        {"type": "externalLink", "id": "b", "order": 1, "label": "Away", "destination": "https://example.org/x"},
    ]
    page = pages.dashboard(
        {"type": "visualization", "embeddableConfig": {"title": "How", "savedVis": vis}},
        {"type": "links", "embeddableConfig": {"attributes": {"layout": "horizontal", "links": links}}},
        references=[{"type": "dashboard", "id": "watch", "name": "p1:link_a_dashboard"}],
    )
    leads = [str(one["href"]) for one in page.all("a")]
    assert "https://airflow.example/dags/record_verdict" in leads
    assert {"/app/dashboards/view/watch", "https://example.org/x"} <= set(leads)
    assert not [one for one in leads if one.startswith("javascript")]
    assert "<b>x</b>" in page.text
    assert not page.all("b")


def test_a_column_of_addresses_is_a_column_of_links(pages: Pages) -> None:
    query = 'FROM calls | STATS BY model | EVAL run = CONCAT("https://airflow.example/", model) | SORT model'
    panel = table(query, "model", "run")
    columns = columns_of(panel)
    columns[1]["params"] = {"format": {"id": "url"}}
    columns[0]["params"] = {
        "format": {
            "id": "url",
            "params": {"urlTemplate": "/app/discover?esql={{value}}", "labelTemplate": "find {{rawValue}}"},
        }
    }
    page = pages.dashboard(panel)
    assert {"https://airflow.example/fraud", "/app/discover?esql=outliers"} <= {one["href"] for one in page.all("a")}
    assert "find fraud" in page.text


# Time and choices -----------------------------------------------------------------------------------------------------

COUNT = "FROM calls | STATS calls = COUNT(*)"


def test_panels_see_the_dashboard_s_time_range_and_the_one_that_is_asked_for(pages: Pages) -> None:
    assert "calls 48" in pages.dashboard(metric(COUNT, "calls")).text
    page = pages.get("/app/dashboards/view/watch?from=now-1h&to=2026-03-02T11:30:00Z")
    assert "calls 14" in page.text
    assert "2026-03-02 11:00 to 2026-03-02 11:30 UTC" in page.text
    assert "is no time range" in pages.get("/app/dashboards/view/watch?from=yesterday", status=400).text
    assert "ends before it starts" in pages.get("/app/dashboards/view/watch?from=now&to=now-1h", status=400).text


def test_kibana_s_own_time_in_the_address_is_understood(pages: Pages) -> None:
    pages.save(dashboard(metric(COUNT, "calls")))
    state = "(filters:!(),refreshInterval:(pause:!t,value:60000),time:(from:'2026-03-02T11:00:00.000Z',to:now))"
    assert "calls 24" in pages.get(f"/app/dashboards/view/watch?_g={state}").text
    assert "is no page state" in pages.get("/app/dashboards/view/watch?_g=(a:'b", status=400).text


def test_a_panel_may_have_a_time_range_of_its_own(pages: Pages) -> None:
    panel = metric(COUNT, "calls")
    panel["embeddableConfig"]["timeRange"] = {"from": "now-30m", "to": "now"}
    page = pages.dashboard(panel, metric(COUNT, "calls"))
    assert "last 30m" in page.text
    assert page.text.index("calls 12") < page.text.index("calls 48")


def test_a_choice_filters_every_panel_and_offers_what_is_there(pages: Pages) -> None:
    control = {"type": "optionsListControl", "order": 0, "explicitInput": {
        "fieldName": "model", "title": "Model", "dataViewRefName": "controlGroup_m:optionsListDataView"}}  # fmt: skip
    view = {
        "type": "index-pattern",
        "id": "calls",
        "attributes": {"title": "calls", "timeFieldName": "@timestamp"},
        "references": [],
    }
    pages.save(view, dashboard(
        metric(COUNT, "calls"), controlGroupInput={"panelsJSON": json.dumps({"m": control})},
        references=[{"type": "index-pattern", "id": "calls", "name": "controlGroup_m:optionsListDataView"}],
    ))  # fmt: skip
    page = pages.get("/app/dashboards/view/watch")
    assert sorted(str(one["value"]) for one in page.all("option")) == ["", "fraud", "outliers"]
    assert "calls 48" in page.text
    chosen = pages.get("/app/dashboards/view/watch?control.m=fraud")
    assert "calls 24" in chosen.text
    assert [one["value"] for one in chosen.all("option") if "selected" in one] == ["fraud"]


def test_the_search_of_a_link_filters_every_panel_or_is_named(pages: Pages) -> None:
    pages.save(dashboard(metric(COUNT, "calls")))
    page = pages.get("""/app/dashboards/view/watch?_a=(query:(language:kuery,query:'model:"fraud"'))""")
    assert "calls 24" in page.text
    assert 'Only what fits model:"fraud", as the address asks.' in page.text
    page = pages.get("/app/dashboards/view/watch?_a=(filters:!((meta:(key:a))),query:(query:'model:fr*'))")
    assert "calls 48" in page.text
    assert "The search model:fr* of the address is not understood here: the panels show everything." in page.text
    assert "Of the address filters is not taken over here." in page.text


# What cannot be drawn -------------------------------------------------------------------------------------------------


def test_an_empty_panel_says_why(pages: Pages) -> None:
    query = "FROM calls | STATS n = COUNT(*) BY model"
    panel = table(query, "model", "n")
    panel["embeddableConfig"]["description"] = "When empty: nobody called."
    page = pages.dashboard(panel, table(f"{query} | WHERE n > 99", "model", "n"), timeFrom="now-3m")
    assert (
        "This time range is empty: the newest document of calls is of 2026-03-02 11:55 UTC. When empty: nobody called."
        in page.text
    )
    page = pages.dashboard(table(f"{query} | WHERE n > 99", "model", "n"))
    assert "Nothing in this time range answers the query" in page.text
    pages.elastic("PUT", "/nothing", {"mappings": {"properties": {"@timestamp": {"type": "date"}}}})
    page = pages.dashboard(table("FROM nothing | KEEP @timestamp", "@timestamp"))
    assert "Nothing has been written to nothing yet." in page.text


def test_a_query_that_fails_shows_the_server_s_sentence_and_leaves_the_other_panels_alone(pages: Pages) -> None:
    page = pages.dashboard(
        metric("FROM calls | STATS x = MAX(nope)", "x"),
        metric("FROM absent | STATS x = COUNT(*)", "x"),
        metric("FROM calls | STATS y = COUNT(*)", "x"),
        metric(COUNT, "calls"),
    )
    assert "Unknown column [nope]" in page.text
    assert "Unknown index [absent]" in page.text
    assert "The query answers no column [x]; it answers [y]." in page.text
    assert "calls 48" in page.text
    assert [one["class"] for one in page.all("section")].count("panel problem") == 3


def test_what_cannot_be_drawn_is_named(pages: Pages) -> None:
    form = metric(COUNT, "calls")
    form["embeddableConfig"]["attributes"]["state"]["datasourceStates"] = {"formBased": {"layers": {"l": {}}}}
    annotated = xy("line", BY_MODEL, "at", "p", "model")
    annotated["embeddableConfig"]["attributes"]["state"]["visualization"]["layers"].append(
        {"layerId": "a", "layerType": "annotations"}
    )
    page = pages.dashboard(
        lens("lnsPie", COUNT, ["calls"], {"shape": "donut"}),
        form,
        annotated,
        metric(COUNT, "calls", trendlineLayerId="t"),
        table("FROM calls | STATS n = COUNT(*) BY model", {"columnId": "model", "isTransposed": True}, "n"),
        {"type": "map", "embeddableConfig": {}},
        xy("bar_percentage_stacked", BY_MODEL, "at", "p", "model"),
    )
    for words in (
        "drawing the visualization [lnsPie]",
        "on formBased instead of textBased",
        "Not drawn here: a layer of type annotations.",
        "Not drawn here: trendlineLayerId.",
        "transposed columns",
        "panel of type [map]",
        "[bar_percentage_stacked]",
    ):
        assert words in page.text


def test_a_dashboard_with_filters_of_its_own_draws_no_wrong_numbers(pages: Pages) -> None:
    source = {"query": {"query": "model: fraud", "language": "kuery"}, "filter": []}
    page = pages.dashboard(metric(COUNT, "calls"), kibanaSavedObjectMeta={"searchSourceJSON": json.dumps(source)})
    assert "a search or filters of its own" in page.text
    assert "calls 48" not in page.text


def test_a_broken_state_does_not_take_the_page_with_it(pages: Pages) -> None:
    broken = lens("lnsXY", BY_MODEL, ["at", "p"], {"layers": [{"layerId": "l"}]})
    page = pages.dashboard(broken, metric(COUNT, "calls"))
    assert "The panel's state cannot be read: KeyError" in page.text
    assert "calls 48" in page.text


def test_a_colour_that_is_none_does_not_get_into_a_style(pages: Pages) -> None:
    evil = "red;background:url(//evil)"
    page = pages.dashboard(
        xy("line", BY_MODEL, "at", "p", "model", layer={"yConfig": [{"forAccessor": "p", "color": evil}]}),
        metric(COUNT, "calls", color=evil),
        metric(COUNT, "calls", palette=palette((0, evil))),
    )
    assert not [one for _, attributes in page.elements for one in attributes.values() if "evil" in str(one)]
    assert page.text.count("calls 48") == 2


def test_a_dashboard_that_is_no_json_says_so(pages: Pages) -> None:
    pages.save(dashboard(panelsJSON="{"))
    assert "The dashboard cannot be read: JSONDecodeError" in pages.get("/app/dashboards/view/watch", status=400).text


def test_discover_asks_within_the_time_range_where_there_is_a_time(pages: Pages) -> None:
    pages.index("ledger", [{"n": 7}], {"n": {"type": "long"}})
    assert "24 1 rows." in pages.get("/app/discover?esql=FROM calls | STATS n = COUNT(*)&from=now-1h").text
    assert "n 7 1 rows." in pages.get("/app/discover?esql=FROM ledger | LIMIT 5").text
    assert "Unknown index [nope]" in pages.get("/app/discover?esql=FROM nope").text
    listed = pages.get("/app/management/data/index_management/indices")
    assert {"calls standard", "ledger standard"} <= {
        f"{a} {b}" for a, b in zip(listed.texts, listed.texts[1:], strict=False)
    }


def test_nothing_from_data_or_saved_objects_becomes_markup(pages: Pages) -> None:
    pages.index("evil", [{"@timestamp": NOON.isoformat(), "model": one, "ms": 1.0} for one in HOSTILE])
    everything = " ".join(HOSTILE)
    query = "FROM evil | STATS p = MAX(ms) BY at = BUCKET(@timestamp, 5 minutes), model"
    rows = table(query, "model", "p")
    columns = columns_of(rows)
    columns[0] |= {"label": everything, "params": {"format": {"id": "url"}}}
    rows["embeddableConfig"] |= {"title": everything, "description": everything}
    heat = {"valueAccessor": "p", "xAccessor": "at", "yAccessor": "model"}
    vis = {"type": "markdown", "params": {"markdown": everything}}
    page = pages.dashboard(
        rows, xy("bar_stacked", query, "at", "p", "model"), xy("bar_horizontal", query, "model", "p"),
        lens("lnsHeatmap", query, ["at", "model", "p"], heat, title=everything),
        metric(query, "p", breakdownByAccessor="model", subtitle=everything),
        {"type": "visualization", "embeddableConfig": {"savedVis": vis}},
        title=everything, description=everything,
    )  # fmt: skip
    assert "panel problem" not in [one["class"] for one in page.all("section")]
    assert [one.get("src") for one in page.all("script")] == ["/ui/fragment.js"]
    assert not page.all("img")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not [one for one in page.all("a") if "javascript" in str(one["href"])[:12]]
    assert "{{ 7 * 7 }} {% raw %}" in page.text, "a template of the data is not one of the page"
    assert "(10,005 characters)" in page.text
    assert {"dir": "auto"} in page.all("span"), "a right-to-left name does not turn its neighbours round"


# Kibana's own states --------------------------------------------------------------------------------------------------


def test_every_es_ql_state_of_kibana_s_own_builder_is_drawn_or_named(pages: Pages) -> None:
    folder = CONTRACTS / "lens-states-9.2.2"
    if not folder.exists():
        pytest.skip(f"Kibana's Lens states are not in {CONTRACTS} (set ELASTIC_CONTRACTS)")
    panels = []
    for path in sorted(folder.glob("*-esql.json")):
        state = json.loads(path.read_text(encoding="utf-8"))
        panels.append({"type": "lens", "embeddableConfig": {"title": path.stem, "attributes": state}})
    assert len(panels) > 20
    names = {name for one in panels for name in re.findall(r"FROM ([\w*-]+)", json.dumps(one))}
    fields = {name: {"type": "keyword"} for name in KEYWORDS}
    numbers = {name: {"type": "double"} for name in NUMBERS}
    for name in sorted(names):
        document = {"@timestamp": NOON.isoformat(), **dict.fromkeys(fields, "a"), **dict.fromkeys(numbers, 1.5)}
        pages.index(name.replace("*", "app"), [document], {"@timestamp": {"type": "date"}, **fields, **numbers})
    page = pages.dashboard(*panels)
    assert "state cannot be read" not in page.text
    kinds = {path.stem.partition("-")[0] for path in folder.glob("*-esql.json")}
    for kind in kinds & {"gauge", "pie", "tagcloud", "treemap", "waffle"}:
        named = {"gauge": "lnsGauge", "tagcloud": "lnsTagcloud"}.get(kind, "lnsPie")
        assert f"drawing the visualization [{named}]" in page.text
    states = [one["embeddableConfig"]["attributes"] for one in panels]
    # `CASE WHEN` is no ES|QL: that state was never asked of an Elasticsearch.
    drawn = [one for one in states if one["visualizationType"] in {"lnsXY", "lnsMetric", "lnsDatatable", "lnsHeatmap"}
             and "CASE WHEN" not in json.dumps(one)]  # fmt: skip
    assert [one["class"] for one in page.all("section")].count("panel") == len(drawn)


def test_a_dashboard_of_ten_panels_takes_less_than_two_seconds(pages: Pages) -> None:
    panels: list[dict[str, Any]] = [
        xy("line", BY_MODEL, "at", "p", "model", yTitle=f"number {number}") for number in range(7)
    ]
    panels += [
        metric(COUNT, "calls"),
        table(BY_MODEL, "at", "model", "p"),
        metric("FROM calls | STATS x = MAX(ms)", "x"),
    ]
    pages.dashboard(panels[0])  # the first picture of a process starts what draws them
    began = time.process_time()  # of all threads, the sandbox's among them: other processes do not count
    page = pages.dashboard(*panels)
    assert time.process_time() - began < 2
    assert len(page.all("svg")) == 7


# What it costs --------------------------------------------------------------------------------------------------------


def test_a_sandbox_that_nobody_looks_at_loads_nothing_of_the_pages() -> None:
    code = "import sys, elastic_sandbox.testing, elastic_sandbox.running; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60).stdout.decode()
    assert "elastic_sandbox.kibana.application" in said.split()
    assert [name for name in said.split() if re.match(r"jinja2|vl_convert|altair|markdown_it|.*\.pages", name)] == []


def test_where_a_package_is_missing_the_page_names_it(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    from elastic_sandbox.kibana.pages import html

    monkeypatch.setitem(sys.modules, "vl_convert", None)
    page = pages.dashboard(xy("line", BY_MODEL, "at", "p", "model", yTitle="not drawn before"), metric(COUNT, "calls"))
    assert f"{html.NEEDED} (import of vl_convert halted" in page.text
    assert "calls 48" in page.text
    html.environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    answer = pages.http.get("/app/home")
    assert (answer.status_code, answer.text.startswith(html.NEEDED)) == (501, True)
    html.environment.cache_clear()
