"""From a pipeline's JSON to a compiled `Pipeline`, refusing what the server refuses and in its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from elastic_sandbox.errors import ElasticError, unsupported
from elastic_sandbox.ingest.configuration import Config, configuration_error
from elastic_sandbox.ingest.document import java_type
from elastic_sandbox.ingest.pipeline import Condition, Pipeline, Step
from elastic_sandbox.ingest.processors import factory_of, load_processors
from elastic_sandbox.painless import Script, compile_script

if TYPE_CHECKING:
    from elastic_sandbox.backend import Backend

SYSTEM_PROPERTIES: Final = ("created_date", "created_date_millis", "modified_date", "modified_date_millis")


def compile_pipeline(backend: Backend, pipeline_id: str, body: dict[str, Any]) -> Pipeline:
    """Validate and compile; the body itself stays untouched.

    Raises 400 `parse_exception`, `illegal_argument_exception` or `script_exception` as `PUT _ingest/pipeline` does.
    """
    load_processors()
    config = Config(body)
    managed = [name for name in SYSTEM_PROPERTIES if name in config]
    if managed:
        raise configuration_error(f"Provided a pipeline property which is managed by the system: {managed[0]}.")
    config.string("description", None)
    config.integer("version", None)
    config.map("_meta", None)
    config.boolean("deprecated")
    if config.string("field_access_pattern", "classic") != "classic":
        raise unsupported("field_access_pattern [flexible] of an ingest pipeline")
    steps = _steps(backend, pipeline_id, config.array("processors"))
    on_failure = config.array("on_failure", None)
    handlers = _steps(backend, pipeline_id, on_failure or [])
    if config:
        raise configuration_error(
            f"pipeline [{pipeline_id}] doesn't support one or more provided configuration parameters "
            f"[{', '.join(config)}]"
        )
    if on_failure is not None and not handlers:
        raise configuration_error(f"pipeline [{pipeline_id}] cannot have an empty on_failure option defined")
    return Pipeline(pipeline_id, body, steps, handlers)


def _steps(backend: Backend, pipeline_id: str, definitions: list[Any]) -> list[Step]:
    steps = []
    for definition in definitions:
        if not isinstance(definition, dict):
            raise configuration_error(f"property isn't a map, but of type [{java_type(definition)}]")
        steps += [build_step(backend, pipeline_id, type_name, options) for type_name, options in definition.items()]
    return steps


def build_step(backend: Backend, pipeline_id: str, type_name: str, options: Any) -> Step:
    """One processor of a pipeline, with its condition and failure handling."""
    if isinstance(options, str) and type_name == "script":
        options = {"source": options}
    if not isinstance(options, dict):
        raise configuration_error(f"property isn't a map, but of type [{java_type(options)}]", processor_type=type_name)
    plain = Config(options)
    tag = plain.string("tag", None)
    config = Config(plain, type_name, tag, pipeline_id)
    description = Config({"description": config.pop("description", None)}).string("description", None)
    condition = _condition(config)
    factory = factory_of(type_name)
    if factory is None:
        raise config.error(None, f"No processor type exists with name [{type_name}]")
    ignore_failure = config.boolean("ignore_failure")
    on_failure = config.array("on_failure", None)
    handlers = _steps(backend, pipeline_id, on_failure or [])
    if on_failure is not None and not handlers:
        raise config.error("on_failure", "processors list cannot be empty")
    try:
        processor = factory(backend, config)
    except ElasticError as error:
        raise _located(_wrapped(error), type_name, tag) from None
    config.refuse_leftovers()
    return Step(type_name, tag, description, processor, pipeline_id, condition, ignore_failure, handlers)


def _wrapped(error: ElasticError) -> ElasticError:
    """A Java exception that is none of Elasticsearch's own, thrown by a factory, becomes a plain 500 `exception`."""
    if error.type != "illegal_argument_exception":
        return error
    reason = f"java.lang.IllegalArgumentException: {error.reason}"
    return ElasticError(500, "exception", reason, caused_by=error.cause())


def _located(error: ElasticError, type_name: str, tag: str | None) -> ElasticError:
    if error.status != 501:
        error.metadata.setdefault("processor_type", type_name)
        if tag is not None:
            error.metadata.setdefault("processor_tag", tag)
    return error


def read_script(config: Config) -> tuple[Script, dict[str, Any]]:
    """`{lang, source, params}` taken out of a configuration, compiled."""
    lang = config.string("lang", "painless")
    if lang != "painless":
        raise unsupported(f"script language [{lang}] in an ingest pipeline")
    if "id" in config:
        raise unsupported("stored scripts in an ingest pipeline")
    source = config.string("source")
    return compile_script(source), config.map("params", {})


def _condition(config: Config) -> Condition | None:
    written = config.pop("if", None)
    if written is None:
        return None
    if isinstance(written, str):
        written = {"source": written}
    if not isinstance(written, dict):
        raise configuration_error(
            f"[script] property isn't a map or string, but of type [{java_type(written)}]", processor_type="conditional"
        )
    reader = Config(written, config.type, config.tag)
    try:
        script, params = read_script(reader)
    except ElasticError as error:
        raise _located(error, config.type or "conditional", config.tag) from None
    reader.refuse_leftovers()
    return Condition(script, params)
