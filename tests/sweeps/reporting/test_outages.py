"""`sweeps.reporting.tracking` while MLflow is down, damaged or moved: the sweep continues, and MLflow catches up."""

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sweeps.reporting import tracking
from sweeps.reporting.mlflow_connection import connect
from sweeps.reporting.tracking import EXPERIMENT
from tests.sweeps.shown import (
    Sweep,
    artifact,
    content,
    history,
    numbers,
    parent,
    runs,
)


def outage(uri, over=False):
    """Make the store refuse every change, or with `over` accept changes again."""
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as store:
        for i, change in enumerate(("insert on runs", "update on runs", "insert on metrics", "insert on tags")):
            refusal = f"create trigger no_{i} before {change} begin select raise(abort, 'out of order'); end"
            store.execute(f"drop trigger no_{i}" if over else refusal)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_a_sweep_with_an_unreachable_server_is_shown_completely_later(uri, storage, caplog, tmp_path, empty_store):
    """Nothing listens at the address. The sweep gives one warning and takes little time; a later `sync` is complete."""
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(f"http://watcher:secret@127.0.0.1:{free_port()}")
    began = time.monotonic()
    sweep.run()
    sweep.listener.sweep_ended("FINISHED")
    assert time.monotonic() - began < 60
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]  # once, not per epoch
    assert "\n" not in warning.getMessage()
    assert "secret" not in warning.getMessage()
    assert not sweep.listener.sync()
    assert runs(uri) == []
    assert sweep.tracking(uri).sync()
    later = f"sqlite:///{tmp_path}/never-down.db"
    shutil.copy(empty_store, tmp_path / "never-down.db")
    sweep.tracking(later).sync()
    assert content(uri) == content(later)
    assert len(runs(uri)) == 8
    assert parent(uri).info.status == "FINISHED"


def test_mlflow_catches_up_after_an_outage_during_a_sweep(uri, storage, caplog, capfd, monkeypatch):
    """The store fails and recovers while a trial runs. There are two messages, and no epoch is missing."""
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
    sweep.end(0)
    outage(uri)
    sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
    sweep.train(1, 0.49, 0.3, epochs=[1, 2])
    outage(uri, over=True)
    sweep.listener.next_attempt = 0.0  # the pause is over
    sweep.train(1, 0.49, 0.3, epochs=[3])
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2  # and nothing from MLflow
    assert capfd.readouterr() == ("", "")
    assert "lags behind" in said[0]
    assert "up to date" in said[1]
    (run,) = runs(uri, "tags.trial = '1'")
    assert [step for step, _, _ in history(uri, run, "miou")] == [1, 2, 3]
    assert len(runs(uri)) == 3


def test_during_an_outage_attempts_are_rare(uri, storage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    outage(uri)
    sweep.begin("baseline", "mcce")
    first = sweep.listener.next_attempt
    assert first >= time.monotonic() + 0.9 * tracking.PAUSE
    sweep.train(0, 0.5, 0.1)
    assert sweep.listener.next_attempt == first  # there was no further attempt
    outage(uri, over=True)
    assert sweep.listener.sync()  # an explicit sync does not wait for the pause


def corrupt(uri, damage):
    """Damage the whole store at `uri` and return the URI of a store that cannot be used."""
    path = Path(uri.removeprefix("sqlite:///"))
    if damage == "no store":
        return str(path.parent / "no" / "such:store")
    if damage == "not a database":
        path.write_bytes(b"not a database " * 1000)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    if damage == "below a file":
        return f"{uri}/mlflow.db"
    deleted = f"insert into experiments (name, lifecycle_stage) values ('{EXPERIMENT}', 'deleted')"
    statement = {
        "of another version": "update alembic_version set version_num = 'fffffffffff'",
        "of other columns": "alter table metrics rename column value to nonsense",
        "its experiment is deleted": deleted,
    }.get(damage)
    if statement:
        with sqlite3.connect(path) as store:
            store.execute(statement)
    return uri


@pytest.mark.parametrize(
    "damage",
    [
        "no store",
        "not a database",
        "cut off",
        "a folder",
        "below a file",
        "of another version",
        "of other columns",
        "its experiment is deleted",
    ],
)
def test_a_store_that_cannot_be_used_gives_one_warning_and_takes_little_time(uri, storage, caplog, damage):
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(corrupt(uri, damage))
    began = time.monotonic()
    sweep.run()
    sweep.listener.sweep_ended("FINISHED")
    assert time.monotonic() - began < 60  # MLflow itself would try for two minutes
    assert not sweep.listener.sync()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "lags behind" in said[0]


def test_a_store_with_invalid_runs_does_not_stop_the_sweep(uri, storage):
    """Other runs with invalid trial numbers appear in the store. The sweep's own runs are still completed."""
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1, epochs=[1])
    (run,) = runs(uri, "tags.trial = '0'")
    for number in ("-7", "zero", "", "999"):
        tags = {**sweep.listener.mirror.runs[0].tags, "trial": number}
        connect(uri).create_run(run.info.experiment_id, tags=tags)
    sweep.listener.sync()
    sweep.train(0, 0.5, 0.1, epochs=[2, 3])
    sweep.end(0)
    sweep.listener.sweep_ended("FINISHED")
    assert [step for step, _, _ in history(uri, run, "miou")] == [1, 2, 3]
    assert connect(uri).get_run(run.info.run_id).data.tags["state"] == "COMPLETE"


def test_mlflow_catches_up_after_its_store_was_moved_during_a_sweep(uri, storage, caplog, monkeypatch):
    """The file is renamed while the sweep runs. There is one warning, and a later `sync` completes the moved file."""
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(uri)
    sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
    before = Path(uri.removeprefix("sqlite:///"))
    after = before.with_name("after.db")
    before.rename(after)
    sweep.end(0)
    sweep.listener.sweep_ended("FINISHED")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    assert sweep.tracking(f"sqlite:///{after}").sync()
    assert numbers(f"sqlite:///{after}", "attributes.status = 'FINISHED'") == [0]


@pytest.mark.slow
def test_mlflow_catches_up_after_its_server_was_killed_and_restarted(uri, storage, tmp_path, caplog, monkeypatch):
    """A real server is killed between two trials and started again during the second. No epoch is missing."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    monkeypatch.setattr(tracking, "PAUSE", 0.0)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", uri, "--artifacts-destination", str(tmp_path / "artifacts")]

    def start():
        server = subprocess.Popen(command + store, cwd=tmp_path, start_new_session=True)
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                return server
            except OSError:
                time.sleep(0.5)
        stop(server)
        raise TimeoutError("the MLflow server does not start")

    def stop(server):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # with the workers that it started
        server.wait()

    sweep = Sweep(storage)
    sweep.listener = sweep.tracking(f"http://127.0.0.1:{port}")
    server = start()
    try:
        sweep.train(sweep.begin("baseline", "mcce"), 0.5, 0.1)
        sweep.end(0)
        assert sweep.listener.mirror is not None
        stop(server)
        sweep.begin("search", "t=1", {"loss": "class_tilt", "t": 1.0})
        sweep.train(1, 0.49, 0.3, epochs=[1, 2])
        assert sweep.listener.behind
        server = start()
        sweep.train(1, 0.49, 0.3, epochs=[3])
        sweep.end(1)
        sweep.listener.sweep_ended("FINISHED")
        assert not sweep.listener.behind
        remote = f"http://127.0.0.1:{port}"
        assert len(runs(remote)) == 3
        for number in ("0", "1"):
            (run,) = runs(remote, f"tags.trial = '{number}'")
            assert [step for step, _, _ in history(remote, run, "miou")] == [1, 2, 3]
        assert parent(remote).info.status == "FINISHED"
        assert (tmp_path / "artifacts").is_dir()
        assert len(json.loads(artifact(remote, "front.json"))["data"]) == 2
    finally:
        stop(server)


def test_a_store_that_several_processes_create_at_once_is_usable(tmp_path):
    uri = f"sqlite:///{tmp_path}/new.db"
    make = f"from sweeps.reporting.mlflow_connection import connect; connect({uri!r}).search_experiments()"
    makers = [subprocess.Popen([sys.executable, "-c", make], cwd=Path(tracking.__file__).parents[1]) for _ in range(3)]
    assert [maker.wait() for maker in makers] == [0, 0, 0]
    connect(uri).create_experiment("mine")
    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]
