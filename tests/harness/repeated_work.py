"""What libraries compute anew at each leg of each task, although in one process it always comes to the same.

A worker of a real Airflow lives for one leg; the process of a test suite lives for thousands, and would spend a quarter
of its time here.
"""

import gc
import json
import os
from typing import Any

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket


class _CompiledTemplates(BytecodeCache):
    """Compiled templates by file, text and environment; a file that has changed is compiled anew."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], Any] = {}

    @staticmethod
    def _key(bucket: Bucket) -> tuple[Any, ...]:
        of = bucket.environment
        options = (type(of), of.undefined, of.autoescape, of.trim_blocks, of.lstrip_blocks, of.keep_trailing_newline)
        return bucket.key, bucket.checksum, *options

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._found.get(self._key(bucket))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._found[self._key(bucket)] = bucket.code


def spare_repeated_work() -> None:
    """Remember, for the rest of the process, what does not change; and do without what no test looks at."""
    _remember_templates()
    _remember_schemas()
    # Where a warning of the client comes from: it reads the source of every module on the stack, 0.2 s each time.
    os.environ["DISABLE_WARN_STACKLEVEL"] = "1"
    # Airflow's examples bring a listener that looks at every task.
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    # What has been imported stays, and the collector of cyclic garbage need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _remember_templates() -> None:
    compiled, real = _CompiledTemplates(), Environment.__init__

    def remembering(self: Environment, *arguments: Any, **named: Any) -> None:
        real(self, *arguments, **named)
        if self.bytecode_cache is None:
            self.bytecode_cache = compiled

    Environment.__init__ = remembering  # type: ignore[method-assign]


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
