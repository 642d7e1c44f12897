"""What Airflow reads about this provider before anything else is importable: this module imports nothing."""


def get_provider_info() -> dict:
    """Return the provider's metadata: connection forms, links, asset URIs and configuration."""
    return {
        "package-name": "airflow-provider-elastic-ml",
        "name": "Elastic ML",
        "description": "The whole Elastic machine-learning lifecycle from Airflow: audit logs in, models trained, "
        "judged, approved, promoted and watched.",
        "versions": ["0.1.0"],
        "connection-types": [_ELASTIC, _KIBANA],
        "hooks": [
            {
                "integration-name": "Elastic ML",
                "python-modules": ["elastic_ml.hooks.elastic", "elastic_ml.hooks.kibana"],
            }
        ],
        "integrations": [
            {
                "integration-name": "Elastic ML",
                "external-doc-url": "https://www.elastic.co/docs/explore-analyze/machine-learning",
                "tags": ["service"],
            }
        ],
        "extra-links": [
            "elastic_ml.links.kibana.AnomalyExplorerLink",
            "elastic_ml.links.kibana.ConsoleLink",
            "elastic_ml.links.kibana.DataFrameAnalyticsLink",
            "elastic_ml.links.kibana.DashboardLink",
            "elastic_ml.links.kibana.DataViewLink",
            "elastic_ml.links.kibana.DiscoverLink",
            "elastic_ml.links.kibana.EnrichPolicyLink",
            "elastic_ml.links.kibana.IndexLink",
            "elastic_ml.links.kibana.IndicesLink",
            "elastic_ml.links.kibana.ModelDashboardLink",
            "elastic_ml.links.kibana.RuleLink",
            "elastic_ml.links.kibana.RulesLink",
            "elastic_ml.links.kibana.SingleMetricViewerLink",
            "elastic_ml.links.kibana.TrainedModelLink",
        ],
        "asset-uris": [
            {
                "schemes": ["elasticsearch"],
                "handler": "elastic_ml.assets.sanitize_uri",
                "factory": "elastic_ml.assets.create_asset",
                "to_openlineage_converter": "elastic_ml.lineage.openlineage_dataset",
            }
        ],
        "notifications": ["elastic_ml.notifications.failure.ElasticFailureNotifier"],
        "config": _CONFIG,
    }


def _field(label: str, kind: str, description: str, **more: object) -> dict:
    return {"label": label, "description": description, "schema": {"type": [kind, "null"], **more}}


# "elasticsearch" is the connection type of the official provider's SQL hook; taking it over would break its operators.
_ELASTIC = {
    "connection-type": "elastic",
    "hook-class-name": "elastic_ml.hooks.elastic.ElasticHook",
    "hook-name": "Elastic",
    "conn-fields": {
        "api_key": _field(
            "API key",
            "string",
            "The `encoded` value of the answer that created the key; instead of login and password.",
            format="password",
        ),
        "cloud_id": _field("Cloud ID", "string", "Of an Elastic Cloud deployment; instead of the URL."),
        "ca_certs": _field(
            "CA certificate", "string", "Path, on workers and triggerer, of the CA that signed the server's."
        ),
        "verify_certs": _field("Verify certificates", "boolean", "Off only on a laptop.", default=True),
        "ssl_assert_fingerprint": _field(
            "Certificate fingerprint", "string", "SHA-256, hex; instead of a CA. Tasks then wait in the worker."
        ),
        "http_compress": _field("Compress requests", "boolean", "gzip request bodies.", default=True),
        "request_timeout": _field("Request timeout", "number", "Seconds to wait for one answer.", default=60),
    },
    "ui-field-behaviour": {
        "hidden-fields": ["extra"],
        "relabeling": {"host": "URL or host", "schema": "Schema (http or https)"},
        "placeholders": {"host": "https://elasticsearch.example:9200", "port": "9200", "login": "elastic"},
    },
}

_KIBANA = {
    "connection-type": "kibana",
    "hook-class-name": "elastic_ml.hooks.kibana.KibanaHook",
    "hook-name": "Kibana",
    "conn-fields": {
        "public_url": _field("Public URL", "string", "Address that people's browsers use; links lead there."),
        "space": _field("Space", "string", "Kibana space; empty for the default one."),
        "api_key": _field("API key", "string", "Instead of login and password.", format="password"),
        "ca_certs": _field("CA certificate", "string", "Path of the CA that signed the server's certificate."),
        "verify_certs": _field("Verify certificates", "boolean", "Off only on a laptop.", default=True),
        "request_timeout": _field("Request timeout", "number", "Seconds to wait for one answer.", default=60),
    },
    "ui-field-behaviour": {
        "hidden-fields": ["extra"],
        "relabeling": {"host": "URL or host", "schema": "Schema (http or https)"},
        "placeholders": {"host": "https://kibana.example:5601", "port": "5601"},
    },
}


def _option(kind: str, default: str, description: str) -> dict:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": None,
        "default": default,
    }


_CONFIG = {
    "elastic_ml": {
        "description": "Settings of airflow-provider-elastic-ml that hold for all of its DAGs.",
        "options": {
            "poll_interval": _option("float", "5", "Seconds between two looks at a remote job."),
            "defer_after": _option(
                "float",
                "0",
                "Seconds that a task waits in the worker before it defers. A deferral costs about three seconds, so "
                "a few seconds here speed up clusters whose jobs are short.",
            ),
            "start_date": _option(
                "string",
                "",
                "ISO date before which no schedule fires; empty: as soon as a DAG is unpaused. Unpausing starts "
                "the latest interval at once, which this prevents; backfills and runs by hand are not affected.",
            ),
            "allow_auto_approval": _option(
                "boolean",
                "False",
                "Whether models may say `approval: {mode: auto}`; otherwise a person approves every promotion.",
            ),
            "exchange_folder": _option(
                "string",
                "",
                "Folder of exported models, local or in object storage with its connection before the bucket: "
                "file:///srv/models/ or s3://aws_default@models/. Without it nothing is exported or imported.",
            ),
        },
    }
}
