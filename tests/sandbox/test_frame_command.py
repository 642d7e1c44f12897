"""``python -m elastic_sandbox``: starting, stopping, and refusing to start."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from elasticsearch import Elasticsearch

from elastic_sandbox.__main__ import main
from elastic_sandbox.documents.table import IndexTable

COMMAND = [sys.executable, "-m", "elastic_sandbox", "--port", "0", "--kibana-port", "0"]


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command and its Elasticsearch URL."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"sandbox ready: elasticsearch (http://\S+) kibana (http://\S+)\n", line)
        assert match is not None, line + (process.stderr.read() if process.stderr and process.poll() else "")
        yield process, match[1]
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


Refused = Callable[..., tuple[int | str | None, str]]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Runs the command in this process, for arguments it refuses; gives the exit code and what it said."""
    # It sets the interpreter up for good, and every test after this one would switch threads 25 times as often.
    monkeypatch.setattr("elastic_sandbox.__main__.prefer_short_answers", lambda: None)

    def run(*arguments: str) -> tuple[int | str | None, str]:
        try:
            code: int | str | None = main(["--port", "0", "--kibana-port", "0", *arguments])
        except SystemExit as exited:
            code = exited.code
        return code, capsys.readouterr().err

    return run


def test_ctrl_c_ends_it_cleanly() -> None:
    with started() as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0


def test_a_stop_signal_ends_it_cleanly_and_keeps_the_state(tmp_path: Path) -> None:
    with started("--data", str(tmp_path), "--version", "9.2") as (process, url):
        client = Elasticsearch(url)
        assert client.info()["version"]["number"] == "9.2.0"
        client.indices.create(index="kept")
        process.terminate()
        assert process.wait(15) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""

    with started("--data", str(tmp_path)) as (_, url):
        assert Elasticsearch(url).indices.exists(index="kept")


def test_an_acknowledged_change_survives_a_kill(tmp_path: Path) -> None:
    with started("--data", str(tmp_path)) as (process, url):
        Elasticsearch(url).indices.create(index="kept", mappings={"properties": {"a": {"type": "ip"}}})
        process.kill()
        process.wait(10)

    with started("--data", str(tmp_path)) as (_, url):
        mapping = Elasticsearch(url).indices.get_mapping(index="kept")["kept"]["mappings"]
        assert mapping == {"properties": {"a": {"type": "ip"}}}


def test_a_directory_in_use_is_refused(refused: Refused, tmp_path: Path) -> None:
    with started("--data", str(tmp_path)):
        code, said = refused("--data", str(tmp_path))
    assert code == 1
    assert said == (
        f"elastic_sandbox: the data directory {tmp_path} is in use by another sandbox; "
        "stop that one or choose another with --data\n"
    )


def test_a_taken_port_is_refused(refused: Refused) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = refused("--kibana-port", str(port))
    assert code == 1
    assert said == (
        f"elastic_sandbox: cannot listen on 127.0.0.1:{port}: Address already in use; stop what uses the port, or "
        "choose another with --port or --kibana-port (make sandbox PORT=... KIBANA_PORT=...; 0 takes a free one)\n"
    )


def test_a_directory_that_cannot_be_written_is_refused(refused: Refused, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    code, said = refused("--data", str(blocked / "data"))
    assert code == 1
    assert f"cannot write to the data directory {blocked / 'data'}" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_a_full_disk_is_refused(refused: Refused, tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / ".writable")
    code, said = refused("--data", str(tmp_path))
    assert code == 1
    assert said == (
        f"elastic_sandbox: the disk of the data directory {tmp_path} is full; "
        "free space or choose another with --data\n"
    )


def test_a_disk_too_full_to_replay_the_translog_is_refused_and_loses_nothing(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started("--data", str(tmp_path)) as (process, url):
        Elasticsearch(url).index(index="kept", id="1", document={"a": 1})
        process.kill()
        process.wait(10)

    def full(*_: object) -> None:
        raise duckdb.TransactionException("Failed to commit: Could not write file: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(IndexTable, "refresh", full)
        code, said = refused("--data", str(tmp_path))
    assert code == 1
    assert f"the disk of the data directory {tmp_path} is full; free space" in said

    gc.collect()  # the refused attempt ran in this process: its cursors hold the file's lock
    with started("--data", str(tmp_path)) as (_, url):
        assert Elasticsearch(url).get(index="kept", id="1")["_source"] == {"a": 1}


def test_a_database_of_something_else_is_refused(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "sandbox.duckdb").write_text("these are notes of mine")
    code, said = refused("--data", str(tmp_path))
    assert code == 1
    assert f"cannot open {tmp_path / 'sandbox.duckdb'}" in said
    assert f"delete {tmp_path} to start empty, or choose another with --data" in said


def test_an_address_that_is_not_this_machine_s_is_refused(refused: Refused) -> None:
    code, said = refused("--host", "192.0.2.1")
    assert code == 1
    assert said.startswith("elastic_sandbox: cannot listen on 192.0.2.1:0: ")
    assert said.endswith("; give --host an address of this machine\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "cannot read the faults file"), ('{"requets": []}', "unknown key 'requets'"), (None, "No such file")],
)
def test_a_faults_file_that_cannot_be_read_is_refused(
    refused: Refused, tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "faults.json"
    if content is not None:
        file.write_text(content)
    code, said = refused("--faults", str(file))
    assert code == 1
    assert words in said
    assert "Traceback" not in said


def test_faults_and_keys_come_from_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text(json.dumps({"requests": [{"path": "/_license", "status": 429, "times": 1}]}))
    with started("--faults", str(file), "--api-key", "aWQ6a2V5", "--license", "basic") as (_, url):
        client = Elasticsearch(url, api_key="aWQ6a2V5", max_retries=2)
        assert client.license.get()["license"]["type"] == "basic"


def test_bad_arguments_are_explained(refused: Refused) -> None:
    code, said = refused("--version", "7.17")
    assert code == 2
    assert "'7.17' is not a version the sandbox speaks" in said


def test_import_and_start_take_under_a_second_and_a_half_of_processor_time(tmp_path: Path) -> None:
    """Processor time, because the wall clock of a busy machine measures the neighbours."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with started("--data", str(tmp_path)) as (process, url):
        Elasticsearch(url).info()
        process.terminate()
        process.wait(15)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


def test_nothing_heavy_is_imported_at_the_start() -> None:
    heavy = "{'xgboost', 'sklearn', 'pandas', 'scipy', 'pyarrow', 'elasticsearch', 'airflow'}"
    serve = "import elastic_sandbox.testing; elastic_sandbox.testing.serve().__enter__()"
    code = f"import sys; {serve}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "set()"
