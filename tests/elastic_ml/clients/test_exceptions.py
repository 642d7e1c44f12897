import inspect
import pickle
import subprocess
import sys

import pytest

from elastic_ml import exceptions
from elastic_ml.exceptions import ElasticMLError, LockHeldError, PartialFailureError, ProjectFileError

CLASSES = [c for _, c in inspect.getmembers(exceptions, inspect.isclass) if issubclass(c, ElasticMLError)]


@pytest.mark.parametrize("cls", [c for c in CLASSES if c is not ProjectFileError], ids=lambda c: c.__name__)
def test_every_error_survives_pickling_with_status_and_remedy(cls):
    error = pickle.loads(pickle.dumps(cls("PUT of x failed.", status=409, remedy="Do y.", error_type="z")))
    assert type(error) is cls
    assert (error.status, error.remedy, error.error_type) == (409, "Do y.", "z")
    assert str(error) == "PUT of x failed. Do y."


def test_a_project_file_error_names_file_line_and_field_and_survives_pickling():
    error = pickle.loads(pickle.dumps(ProjectFileError("m.yml", 7, "gate.auc_roc", "is 7", "Write 0 to 1.")))
    assert str(error) == "m.yml:7: gate.auc_roc: is 7 Write 0 to 1."
    assert (error.line, error.field) == (7, "gate.auc_roc")


def test_owner_and_failures_survive_pickling():
    held = pickle.loads(pickle.dumps(LockHeldError("held.", owner="me", expires="2026-01-01T00:00:00Z")))
    assert (held.owner, held.expires) == ("me", "2026-01-01T00:00:00Z")
    assert pickle.loads(pickle.dumps(PartialFailureError("x", failures={"a": "b"}))).failures == {"a": "b"}


def test_the_exceptions_module_imports_nothing():
    code = (
        "import sys, importlib.util as u\n"
        f"spec = u.spec_from_file_location('e', {exceptions.__file__!r})\n"
        "module = u.module_from_spec(spec)\n"
        "before = set(sys.modules)\n"
        "spec.loader.exec_module(module)\n"
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
