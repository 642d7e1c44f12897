"""What machine learning checks of runtime fields when a configuration is put: no more than their form.

Types, parameters and scripts are looked at where the fields are searched, as in Elasticsearch (its class
`RuntimeMappingsValidator` and the tests of it): when a datafeed starts or is previewed, when an analysis is explained.
"""

from __future__ import annotations

from typing import Any

from elastic_sandbox.ml.strict import bad_request


def check_runtime_mappings(mappings: dict[str, Any]) -> None:
    """Refuse what is no map of definitions with a type.

    :raises ElasticError: 400; of a value that is no map the message names the class of its name, always String
    """
    for name, definition in mappings.items():
        if not isinstance(definition, dict):
            raise bad_request(f"Expected map for runtime field [{name}] definition but got a String")
        if definition.get("type") is None:
            raise bad_request(f"No type specified for runtime field [{name}]")
