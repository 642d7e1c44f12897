"""What libraries compute anew at each leg of each task, although in one process it always comes to the same.

A worker of a real Airflow lives for one leg; the process of a test suite lives for thousands, and would spend a quarter
of its time here.
"""

import gc
import json
import os
import ssl
import sys
from functools import cache
from typing import Any, Final

from jinja2 import Environment
from jinja2.nodes import Template

PLAIN_HTTP: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For `verify` of a httpx client of the sandbox, which speaks no TLS: reading all authorities takes it 20 ms."""


def _syntax(of: Environment) -> tuple[Any, ...]:
    """What of an environment the compiled template depends on; a filter of a constant is applied while compiling."""
    return (
        type(of), of.undefined, of.autoescape, of.is_async, of.optimized, of.newline_sequence, of.trim_blocks,
        of.lstrip_blocks, of.keep_trailing_newline, of.block_start_string, of.block_end_string,
        of.variable_start_string, of.variable_end_string, of.comment_start_string, of.comment_end_string,
        of.line_statement_prefix, of.line_comment_prefix, *of.extensions, frozenset(of.filters.items()),
        frozenset(of.tests.items()),
    )  # fmt: skip


def spare_repeated_work() -> None:
    """Remember, for the rest of the process, what does not change; and do without what no test looks at."""
    _remember_templates()
    _remember_schemas()
    _remember_validators()
    # Where a warning of the client comes from: it reads the source of every module on the stack, 0.2 s each time.
    os.environ["DISABLE_WARN_STACKLEVEL"] = "1"
    # Airflow's examples bring a listener that looks at every task.
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    # What has been imported stays, and the collector of cyclic garbage need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _remember_templates() -> None:
    """Compiled templates by file, text and environment; a file that has changed is compiled anew."""
    real, compiled = Environment.compile, {}

    def compile_once(
        self: Environment,
        source: str | Template,
        name: str | None = None,
        filename: str | None = None,
        raw: bool = False,
        defer_init: bool = False,
    ) -> Any:
        if raw or not isinstance(source, str):
            return real(self, source, name, filename, raw, defer_init)  # type: ignore[call-overload]
        key = (source, name, filename, defer_init, *_syntax(self))
        if key not in compiled:
            compiled[key] = real(self, source, name, filename, defer_init=defer_init)
        return compiled[key]

    Environment.compile = compile_once  # type: ignore[method-assign, assignment]


def _remember_schemas() -> None:
    """Airflow validates every param three times a leg, and its schema against the schema of schemas each time."""
    from jsonschema import Draft202012Validator

    real, valid = Draft202012Validator.check_schema, set()

    def check_schema(schema: Any, *arguments: Any, **named: Any) -> None:
        key = json.dumps(schema, sort_keys=True, default=repr)
        if key not in valid:
            real(schema, *arguments, **named)
            valid.add(key)

    Draft202012Validator.check_schema = staticmethod(check_schema)


def _remember_validators() -> None:
    """Airflow builds the validator of a JSON value anew for each field that it has rendered."""
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    if runner is not None:
        vars(runner)["TypeAdapter"] = cache(vars(runner)["TypeAdapter"])
