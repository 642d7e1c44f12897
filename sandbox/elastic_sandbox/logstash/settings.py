"""Which settings the plugins of Logstash 9 take: names from the `config` declarations of each plugin's source.

Only the plugins that the shipped pipelines use; the lint reports any other as unknown.
"""

from __future__ import annotations

from typing import NamedTuple


class Declared(NamedTuple):
    """A plugin's settings.

    :param names: all that it takes.
    :param required: those that it does not start without.
    :param obsolete: those that end its start since Logstash 9, and what to write instead.
    """

    names: frozenset[str]
    required: frozenset[str] = frozenset()
    obsolete: dict[str, str] = {}  # noqa: RUF012 - never changed


_TLS = (
    "ssl_enabled ssl_certificate ssl_key ssl_key_passphrase ssl_certificate_authorities ssl_client_authentication "
    "ssl_handshake_timeout ssl_cipher_suites ssl_supported_protocols "
)
_OLD_TLS = {
    "ssl": "ssl_enabled",
    "cipher_suites": "ssl_cipher_suites",
    "tls_min_version": "ssl_supported_protocols",
    "tls_max_version": "ssl_supported_protocols",
    "ssl_verify_mode": "ssl_client_authentication",
}
_INPUT = "id enable_metric codec add_field tags type "
_FILTER = "id enable_metric add_field remove_field add_tag remove_tag periodic_flush "
_OUTPUT = "id enable_metric codec workers "


def _declared(common: str, names: str, required: str = "", obsolete: dict[str, str] | None = None) -> Declared:
    return Declared(frozenset((common + names).split()), frozenset(required.split()), obsolete or {})


_BEATS = _declared(
    _INPUT,
    _TLS
    + "host port include_codec_tag client_inactivity_timeout executor_threads event_loop_threads add_hostname enrich "
    "ecs_compatibility",
    "port",
    {**_OLD_TLS, "ssl_peer_metadata": "enrich"},
)

PLUGINS: dict[tuple[str, str], Declared] = {
    ("input", "beats"): _BEATS,
    ("input", "elastic_agent"): _BEATS,
    ("input", "http"): _declared(
        _INPUT,
        _TLS + "host port user password ssl_keystore_path ssl_keystore_password ssl_keystore_type ssl_truststore_path "
        "ssl_truststore_password additional_codecs response_headers response_code remote_host_target_field "
        "request_headers_target_field threads max_pending_requests max_content_length ecs_compatibility",
        "",
        {**_OLD_TLS, "keystore": "ssl_keystore_path", "keystore_password": "ssl_keystore_password",
         "verify_mode": "ssl_client_authentication"},
    ),
    ("input", "pipeline"): _declared(_INPUT, "address", "address"),
    ("input", "dead_letter_queue"): _declared(
        _INPUT, "path pipeline_id sincedb_path commit_offsets start_timestamp clean_consumed", "path"
    ),
    ("filter", "date"): _declared(_FILTER, "match target timezone locale tag_on_failure"),
    ("filter", "drop"): _declared(_FILTER, "percentage"),
    ("filter", "fingerprint"): _declared(
        _FILTER,
        "source target key method base64encode concatenate_sources concatenate_all_fields ecs_compatibility",
    ),
    ("filter", "grok"): _declared(
        _FILTER,
        "match patterns_dir pattern_definitions patterns_files_glob break_on_match named_captures_only "
        "keep_empty_captures target tag_on_failure timeout_millis timeout_scope tag_on_timeout overwrite "
        "ecs_compatibility",
    ),
    ("filter", "json"): _declared(
        _FILTER, "source target tag_on_failure skip_on_invalid_json ecs_compatibility", "source"
    ),
    ("filter", "kv"): _declared(
        _FILTER,
        "trim_value trim_key remove_char_value remove_char_key transform_value transform_key field_split "
        "field_split_pattern value_split value_split_pattern prefix source target include_keys exclude_keys "
        "default_keys allow_duplicate_values allow_empty_values include_brackets recursive whitespace timeout_millis "
        "tag_on_timeout tag_on_failure ecs_compatibility",
    ),
    ("filter", "mutate"): _declared(
        _FILTER,
        "coerce rename replace update convert gsub uppercase capitalize lowercase strip split join merge copy "
        "tag_on_failure",
    ),
    ("filter", "prune"): _declared(
        _FILTER, "interpolate whitelist_names blacklist_names whitelist_values blacklist_values"
    ),
    ("filter", "translate"): _declared(
        _FILTER,
        "source field override dictionary dictionary_path yaml_dictionary_code_point_limit yaml_load_strategy "
        "refresh_interval target destination exact regex fallback refresh_behaviour iterate_on ecs_compatibility",
    ),
    ("filter", "truncate"): _declared(_FILTER, "fields length_bytes", "length_bytes"),
    ("output", "pipeline"): _declared(_OUTPUT, "send_to ensure_delivery", "send_to"),
    ("output", "elasticsearch"): _declared(
        _OUTPUT,
        "hosts user password api_key cloud_id cloud_auth document_id path bulk_path parameters ssl_enabled "
        "ssl_verification_mode ssl_certificate_authorities ssl_truststore_path ssl_truststore_type "
        "ssl_truststore_password ssl_keystore_path ssl_keystore_type ssl_keystore_password ssl_supported_protocols "
        "ssl_certificate ssl_key ssl_cipher_suites ca_trusted_fingerprint sniffing sniffing_delay sniffing_path proxy "
        "timeout failure_type_logging_whitelist silence_errors_in_log pool_max pool_max_per_route healthcheck_path "
        "resurrect_delay validate_after_inactivity http_compression compression_level custom_headers "
        "retry_initial_interval retry_max_interval dlq_custom_codes dlq_on_failed_indexname_interpolation "
        "drop_error_types action index manage_template template_name template template_overwrite template_api version "
        "version_type routing parent join_field upsert doc_as_upsert script script_type script_lang script_var_name "
        "scripted_upsert retry_on_conflict pipeline ilm_enabled ilm_rollover_alias ilm_pattern ilm_policy data_stream "
        "data_stream_type data_stream_dataset data_stream_namespace data_stream_sync_fields data_stream_auto_routing "
        "ecs_compatibility",
        "",
        {
            "ssl": "ssl_enabled",
            "ssl_certificate_verification": "ssl_verification_mode",
            "cacert": "ssl_certificate_authorities",
            "truststore": "ssl_truststore_path",
            "truststore_password": "ssl_truststore_password",
            "keystore": "ssl_keystore_path",
            "keystore_password": "ssl_keystore_password",
        },
    ),
    ("codec", "line"): _declared("", "id enable_metric format charset delimiter ecs_compatibility"),
    ("codec", "plain"): _declared("", "id enable_metric format charset ecs_compatibility"),
}  # fmt: skip


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NOT_WITH_DATA_STREAMS = _names(
    "index manage_template template_name template template_overwrite template_api version version_type parent "
    "join_field upsert doc_as_upsert script script_type script_lang script_var_name scripted_upsert retry_on_conflict "
    "ilm_enabled ilm_rollover_alias ilm_pattern ilm_policy"
)
"""With `data_stream => true` these end the start (data_stream_support.rb, invalid_data_stream_params)."""

PIPELINE_SETTINGS = _names(
    "config.debug config.support_escapes config.string dead_letter_queue.enable dead_letter_queue.flush_interval "
    "dead_letter_queue.flush_check_interval dead_letter_queue.max_bytes dead_letter_queue.storage_policy "
    "dead_letter_queue.retain.age metric.collect pipeline.plugin_classloaders path.config path.dead_letter_queue "
    "path.queue pipeline.batch.delay pipeline.batch.output_chunking.growth_threshold_factor "
    "pipeline.batch.metrics.sampling_mode pipeline.batch.size pipeline.id pipeline.reloadable pipeline.recoverable "
    "pipeline.system pipeline.workers pipeline.ordered pipeline.ecs_compatibility queue.checkpoint.acks "
    "queue.checkpoint.interval queue.checkpoint.writes queue.checkpoint.retry queue.compression queue.drain "
    "queue.max_bytes queue.max_events queue.page_capacity queue.type"
)
"""What of logstash.yml may stand in pipelines.yml (settings.rb, PIPELINE_SETTINGS_WHITE_LIST)."""
