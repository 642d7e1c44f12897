"""What Airflow knows of the package once it is installed."""

import subprocess
import sys

import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Asset, conf
from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

from elastic_ml.assets import create_asset
from elastic_ml.get_provider_info import get_provider_info


@pytest.fixture(scope="module")
def providers():
    return ProvidersManager()


def test_the_provider_is_listed_once(providers):
    assert [name for name in providers.providers if "elastic-ml" in name] == ["airflow-provider-elastic-ml"]


def test_the_connection_types_are_ours_and_the_official_one_is_left_alone():
    providers = ProvidersManagerTaskRuntime()
    assert providers.hooks["elastic"].hook_class_name == "elastic_ml.hooks.elastic.ElasticHook"
    assert providers.hooks["kibana"].hook_class_name == "elastic_ml.hooks.kibana.KibanaHook"
    official = providers.hooks["elasticsearch"]
    assert official.hook_class_name == "airflow.providers.elasticsearch.hooks.elasticsearch.ElasticsearchSQLHook"


def test_the_official_sql_hook_reads_its_own_connection_beside_ours(monkeypatch, sandbox):
    from airflow.providers.elasticsearch.hooks.elasticsearch import ElasticsearchSQLHook

    monkeypatch.setenv("AIRFLOW_CONN_OFFICIAL", sandbox.elasticsearch_url.replace("http://", "elasticsearch://"))
    hook = ElasticsearchSQLHook(elasticsearch_conn_id="official")
    assert hook.conn_type == "elasticsearch"
    assert hook.get_conn().es.info()["tagline"] == "You Know, for Search"


def test_every_extra_that_the_hook_reads_has_a_field_in_the_form():
    from elastic_ml.hooks.elastic import EXTRAS

    elastic = get_provider_info()["connection-types"][0]
    assert sorted(elastic["conn-fields"]) == sorted(EXTRAS)
    assert elastic["conn-fields"]["api_key"]["schema"]["format"] == "password"


def test_the_configuration_section_has_its_defaults(providers):
    assert conf.getfloat("elastic_ml", "poll_interval", fallback=None) == 5
    assert conf.getboolean("elastic_ml", "allow_auto_approval", fallback=None) is False
    assert not conf.get("elastic_ml", "start_date", fallback=None)


def test_an_elasticsearch_asset_is_a_connection_and_a_name():
    asset = create_asset(name="logs-lendpath.audit-lendpath")
    assert asset.uri == "elasticsearch://elasticsearch_default/logs-lendpath.audit-lendpath"


@pytest.mark.parametrize("uri", ["elasticsearch://host:9200/x", "elasticsearch://c/", "elasticsearch://c/a/b"])
def test_an_asset_with_a_port_or_without_exactly_one_name_is_refused(uri):
    with pytest.raises(ValueError, match="connection id"):
        Asset(name="x", uri=uri)


def test_credentials_are_no_part_of_an_asset():
    # Airflow drops them itself, with a warning, before our handler sees the URI.
    with pytest.warns(UserWarning, match="password"):
        assert Asset(name="x", uri="elasticsearch://user:pw@c/x").uri == "elasticsearch://c/x"


def test_the_metadata_module_imports_nothing():
    import elastic_ml.get_provider_info as module

    code = (
        "import sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('m', {module.__file__!r})\n"
        "m = u.module_from_spec(spec)\n"
        "before = set(sys.modules)\n"
        "spec.loader.exec_module(m); m.get_provider_info()\n"
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_plugin_is_listed_once():
    from importlib.metadata import entry_points

    ours = [e for e in entry_points(group="airflow.plugins") if e.value.startswith("elastic_ml")]
    assert [e.load().name for e in ours] == ["elastic_ml"]
