"""Links from a task to the page of Kibana that shows what it works on; one class per page.

A link is stored as an XCom under the link's ``xcom_key`` before the task starts to wait, since Airflow itself would
store it only when the task ends.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from elastic_ml.hooks.kibana import KibanaAddress


class KibanaLink(BaseOperatorLink):
    """Base of the links: reads the URL that the operator stored."""

    name: ClassVar[str] = "Kibana"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the stored URL, or an empty text when there is no connection ``kibana_default``."""
        known = getattr(operator, "kibana_links", None)
        if known is not None:
            # Airflow asks in the worker that just made the links; looking for an XCom that is not there would log an
            # error line in every task of a deployment without Kibana.
            return str(known.get(self.xcom_key, ""))
        from airflow.sdk.execution_time.xcom import XCom

        return XCom.get_value(key=self.xcom_key, ti_key=ti_key) or ""

    @staticmethod
    def path(name: str) -> str:
        """Return the page's path for the object called ``name``."""
        raise NotImplementedError

    def url(self, address: "KibanaAddress", name: str) -> str:
        """Return the page's URL for the object called ``name``."""
        return address.page(self.path(name))


def store_links(operator: Any, context: Any, names: Callable[[], Mapping[str, str]]) -> None:
    """Store an operator's links now, and keep them for :meth:`KibanaLink.get_link`.

    :param operator: has ``operator_extra_links``, ``kibana_conn_id`` and ``kibana_links``.
    :param names: returns the object that each link shows, by the link's class name; not asked where there is no
        connection to Kibana.
    """
    if not operator.operator_extra_links:
        return
    from elastic_ml.hooks.kibana import KibanaHook

    address = KibanaHook(operator.kibana_conn_id, space=getattr(operator, "space", None)).address()
    shown = names() if address else {}
    links = {
        link.xcom_key: link.url(address, shown[type(link).__name__])
        for link in operator.operator_extra_links
        if address and shown.get(type(link).__name__)
    }
    operator.kibana_links = {**(operator.kibana_links or {}), **links}
    for key, url in links.items():
        context["ti"].xcom_push(key=key, value=url)


class DataFrameAnalyticsLink(KibanaLink):
    """The list of analytics jobs, filtered to one."""

    name: ClassVar[str] = "Analytics job"

    @staticmethod
    def path(name: str) -> str:
        """Return the jobs page with the job's id in its search bar."""
        return f"/app/management/ml/analytics?_a={_search(f'id:{name}')}"


class TrainedModelLink(KibanaLink):
    """The list of trained models, filtered to one, or to the versions of one model file: the search matches parts."""

    name: ClassVar[str] = "Trained model"

    @staticmethod
    def path(name: str) -> str:
        """Return the models page with the model's id, or the begin of it, in its search bar."""
        return f"/app/management/ml/trained_models?_a={_search(f'model_id:({name})')}"


class ConsoleLink(KibanaLink):
    """The console of the developer tools, where any request can be sent again."""

    name: ClassVar[str] = "Console"

    @staticmethod
    def path(name: str) -> str:
        """Return the console; it has no address for one request."""
        return "/app/dev_tools#/console"


class IndexLink(KibanaLink):
    """An index in index management."""

    name: ClassVar[str] = "Index"

    @staticmethod
    def path(name: str) -> str:
        """Return the page of one index."""
        return f"/app/management/data/index_management/indices/index_details?indexName={quote(name, safe='')}"


class IndicesLink(KibanaLink):
    """The indices of index management, filtered by a part of their names."""

    name: ClassVar[str] = "Indices"

    @staticmethod
    def path(name: str) -> str:
        """Return the list with the text in its search bar."""
        return f"/app/management/data/index_management/indices?filter={quote(name, safe='')}"


class DiscoverLink(KibanaLink):
    """Rows of an ES|QL query in Discover, of the last week where they have a time; the name is the query."""

    name: ClassVar[str] = "Discover"

    @staticmethod
    def path(name: str) -> str:
        """Return Discover with the query; the state as Kibana's own links to it write it."""
        state = f"(dataSource:(type:esql),query:(esql:{_rison(name)}))"
        return f"/app/discover#/?_g=(time:(from:'now-7d',to:'now'))&_a={quote(state, safe=_UNQUOTED)}"


class EnrichPolicyLink(KibanaLink):
    """An enrich policy in index management."""

    name: ClassVar[str] = "Enrich policy"

    @staticmethod
    def path(name: str) -> str:
        """Return the page of the enrich policies."""
        return f"/app/management/data/index_management/enrich_policies?policy={quote(name, safe='')}"


class DashboardLink(KibanaLink):
    """A dashboard."""

    name: ClassVar[str] = "Dashboard"

    @staticmethod
    def path(name: str) -> str:
        """Return the page of one dashboard."""
        return f"/app/dashboards#/view/{quote(name, safe='')}"


class ModelDashboardLink(KibanaLink):
    """A dashboard about models with one of them chosen; the name is ``<dashboard>/<model>``."""

    name: ClassVar[str] = "Model operations"

    @staticmethod
    def path(name: str) -> str:
        """Return the dashboard, filtered by a query: the form of chosen controls differs between 9.2 and 9.5."""
        dashboard, _, model = name.rpartition("/")
        query = f'model_name:"{model}"'
        state = f"(query:(language:kuery,query:{_rison(query)}))"
        return f"/app/dashboards#/view/{quote(dashboard, safe='')}?_a={quote(state, safe=_UNQUOTED)}"


class RuleLink(KibanaLink):
    """An alerting rule with its alerts."""

    name: ClassVar[str] = "Rule"

    @staticmethod
    def path(name: str) -> str:
        """Return the page of one rule."""
        return f"/app/management/insightsAndAlerting/triggersActions/rule/{quote(name, safe='')}"


class RulesLink(KibanaLink):
    """The alerting rules of the space, filtered by a tag."""

    name: ClassVar[str] = "Rules"

    @staticmethod
    def path(name: str) -> str:
        """Return the list of rules that carry the tag called ``name``."""
        state = quote(f"(tags:!({name}))", safe="():,!")
        return f"/app/management/insightsAndAlerting/triggersActions/rules?_a={state}"


class DataViewLink(KibanaLink):
    """A data view and its fields."""

    name: ClassVar[str] = "Data view"

    @staticmethod
    def path(name: str) -> str:
        """Return the page of one data view."""
        return f"/app/management/kibana/dataViews/dataView/{quote(name, safe='')}"


_UNQUOTED = "():!,'"
"""What Kibana leaves as it is where it writes a page's state (rison) into an address."""


def _rison(text: str) -> str:
    """Return a text as rison writes it."""
    return "'" + text.replace("!", "!!").replace("'", "!'") + "'"


def _search(text: str) -> str:
    """Return Kibana's page state (rison) with a search text; ids need no escaping inside the quotes."""
    return quote(f"('':(queryText:'{text}'))", safe="():',")


class AnomalyExplorerLink(KibanaLink):
    """What an anomaly job found, all of it at a glance; the name is ``<job>/<from>/<to>``, times ISO or empty."""

    name: ClassVar[str] = "Anomaly explorer"

    @staticmethod
    def path(name: str) -> str:
        """Return the explorer's page with the job and the time range."""
        return f"/app/ml/explorer?{_of_job(name)}&_a=(explorer:(mlExplorerFilter:(),mlExplorerSwimlane:()))"


class SingleMetricViewerLink(KibanaLink):
    """One series of an anomaly job with its expected range; the name is ``<job>/<from>/<to>``."""

    name: ClassVar[str] = "Single metric viewer"

    @staticmethod
    def path(name: str) -> str:
        """Return the viewer's page with the job and the time range."""
        return f"/app/ml/timeseriesexplorer?{_of_job(name)}&_a=(timeseriesexplorer:(mlTimeSeriesExplorer:()))"


def _of_job(name: str) -> str:
    """Return Kibana's global state (rison) with a job, and a time range where the name has one."""
    job, _, times = name.partition("/")
    start, _, end = times.partition("/")
    state = f"(ml:(jobIds:!('{job}')),time:(from:'{start or 'now-30d'}',to:'{end or 'now'}'))"
    return "_g=" + quote(state, safe="():',!")
