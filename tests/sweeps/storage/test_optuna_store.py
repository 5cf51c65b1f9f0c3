"""`sweeps.storage.optuna_store` with a file that is locked, deleted, replaced or restored, and with a full disk."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace

import pytest
import sqlalchemy
from optuna.trial import TrialState

from sweeps.storage.optuna_store import Store
from sweeps.storage.record import Record
from tce_core.errors import TemporaryError, UserError
from tests.sweeps.searching import PLAN, result

LOCK = """
import sqlite3, sys, time
store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
store.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def file(tables, tmp_path):
    return shutil.copy(tables, tmp_path / "sweeps.db")


@pytest.fixture
def record(file, impatient):
    """A sweep with one trial, which is running and has finished its first epoch."""
    record = Record.create(f"sqlite:///{file}", PLAN)
    record.begin("search", "t=1", {"epochs": 4}, {})
    record.add_epoch(0, result(1), 1.0)
    return record


@pytest.fixture
def lock(file):
    """Let another process lock the file: `process = lock(60)` holds it for 60 seconds, or until it is killed."""
    processes = []

    def hold(seconds):
        command = [sys.executable, "-S", "-c", LOCK, file, str(seconds)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "locked\n"
        return processes[-1]

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


WRITES = {
    "begin": lambda record: record.begin("search", "t=2", {"epochs": 4}, {}),
    "epoch": lambda record: record.add_epoch(0, result(record[0].epoch + 1), 1.0),
    "end": lambda record: record.end(0, TrialState.PRUNED, "why", 1.0),
    "finish": lambda record: record.finish(),
}


def content(file):
    with sqlite3.connect(file) as database:
        dump = list(database.iterdump())
    database.close()
    return dump


def same(record):
    """Whether a new process reads the same trials as `record` holds in memory."""
    return [repr(trial) for trial in Record.load(record.store.url, "one").trials()] == [
        repr(trial) for trial in record.trials()
    ]


# The file is locked


def test_a_write_waits_until_the_file_is_unlocked(record, lock):
    record.store.wait = 60.0
    for write in WRITES.values():
        lock(0.3)
        write(record)
    assert same(record)
    read = Record.load(record.store.url, "one")
    assert (read.finished, len(read.trials()), read[0].epoch, read[0].stopped) == (True, 2, 2, True)


def test_a_write_that_waits_too_long_names_storage_and_seconds_and_writes_nothing(record, file, lock, monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.0)  # makes Optuna's own pauses 0 s long
    before, process = content(file), lock(600)
    for write in WRITES.values():
        began = time.monotonic()
        with pytest.raises(UserError) as caught:
            write(record)
        assert str(caught.value) == f"--storage sqlite:///{file}: database is locked, for 1 s"
        assert time.monotonic() - began >= 0.5
    process.kill()
    process.wait()
    assert content(file) == before
    assert same(record)
    for write in WRITES.values():  # then the sweep can continue
        write(record)
    assert same(record)


@pytest.mark.parametrize(
    "use",
    [
        lambda url: Record.names(url),
        lambda url: Record.load(url, "one"),
        lambda url: Record.create(url, replace(PLAN, name="two")),
    ],
)
def test_a_store_that_is_locked_cannot_be_opened(record, file, lock, use):
    lock(600)
    with pytest.raises(TemporaryError, match=rf"^--storage sqlite:///{file}: database is locked, for 1 s$"):
        use(record.store.url)


# The file is gone


def lost(write, record):
    """Write, and expect the message for a missing or replaced file."""
    with pytest.raises(UserError) as caught:
        write(record)
    file = record.store.file
    assert str(caught.value) == (
        f"--storage sqlite:///{file}: {file} is gone, or another file is in its place, for 1 s"
    )


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_deleted_file_is_reported_and_not_created_again(record, file, write):
    os.unlink(file)
    lost(write, record)
    assert not os.path.exists(file)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_another_file_in_its_place_is_not_written(record, file, tmp_path, write):
    shutil.copy(file, tmp_path / "copy.db")
    os.replace(tmp_path / "copy.db", file)
    before = content(file)
    lost(write, record)
    assert content(file) == before


@pytest.mark.parametrize("folder", ["away", "full"])  # "full" in a path does not mean a full disk
def test_a_write_waits_until_a_moved_file_comes_back(tables, tmp_path, impatient, folder):
    """The folder is renamed and renamed back while a write waits. The write then succeeds and is recorded once."""
    (tmp_path / folder).mkdir()
    file = shutil.copy(tables, tmp_path / folder / "sweeps.db")
    record = Record.create(f"sqlite:///{file}", PLAN)
    record.store.wait = 60.0
    (tmp_path / folder).rename(tmp_path / "elsewhere")
    threading.Timer(0.7, lambda: (tmp_path / "elsewhere").rename(tmp_path / folder)).start()
    record.begin("search", "t=1", {"epochs": 4}, {})
    record.add_epoch(0, result(1), 1.0)
    assert same(record)
    assert len(record.trials()) == 1


# The disk is full


def limit(record, pages):
    """Limit the database to `pages` pages, so that SQLite reports a full disk."""
    engine = record.store.backend._backend.engine

    def checkout(connection, *_):
        connection.execute(f"pragma max_page_count = {pages}")

    sqlalchemy.event.listen(engine, "checkout", checkout)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_is_reported_at_once_and_the_record_stays_unchanged(record, file, write):
    record.store.wait = 3600.0
    with sqlite3.connect(file) as database:
        (pages,) = database.execute("pragma page_count").fetchone()
    database.close()
    limit(record, pages)
    with pytest.raises(TemporaryError) as caught:
        deque(map(WRITES["epoch"], [record] * 99))  # until the last page is full
    assert str(caught.value) == (
        f"--storage sqlite:///{file}: database or disk is full; "
        "what was recorded is kept, continue with --resume when there is space"
    )
    assert same(record)
    limit(record, 10**6)
    write(record)
    assert same(record)


# When the store waits, and how long


def test_an_error_that_does_not_come_from_the_store_is_raised_at_once(record):
    record.store.wait = 3600.0
    with pytest.raises(ZeroDivisionError):
        record.store.call(lambda: 1 / 0)


def test_a_store_waits_for_a_minute_by_default(file, monkeypatch):
    monkeypatch.delenv("TILTED_SWEEPS_STORE_WAIT", raising=False)
    assert Store(f"sqlite:///{file}").wait == 60
    monkeypatch.setenv("TILTED_SWEEPS_STORE_WAIT", "7.5")
    assert Store(f"sqlite:///{file}").wait == 7.5
