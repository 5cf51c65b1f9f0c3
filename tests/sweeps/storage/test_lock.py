"""`sweeps.storage.lock` with real processes: one process at a time runs a sweep, and a dead process blocks nobody."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from sweeps.storage.lock import sweep_lock
from tce_core.errors import TemporaryError, UserError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="flock and SIGKILL are POSIX")
DRIVE = """
import sys
from pathlib import Path
from sweeps.storage.lock import sweep_lock
with sweep_lock("a", Path(sys.argv[1])):
    print("sweep_lock", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def driver(tmp_path):
    """Another process that holds the lock of sweep `a` until its stdin is closed."""
    command = [sys.executable, "-c", DRIVE, tmp_path / "runs" / "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "sweep_lock\n"
        yield process
        process.kill()


def drive(folder):
    """Take the lock and return what the lock file then says about its holder."""
    with sweep_lock(folder.name, folder):
        return (folder / "lock").read_text()


def test_a_second_process_is_refused_and_the_holder_is_named(tmp_path, driver):
    for _ in range(2):  # the second attempt fails in the same way
        with pytest.raises(TemporaryError) as caught:
            drive(tmp_path / "runs" / "a")
        who = f"process {driver.pid} on {socket.gethostname()}"
        assert str(caught.value) == f"sweep 'a' is being run by {who}; wait for it, or stop it first"


def test_another_sweep_is_free(tmp_path, driver):
    """While another process runs sweep `a`, this process can run sweep `b`."""
    assert f"process {os.getpid()} " in drive(tmp_path / "runs" / "b")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_the_sweep_free(tmp_path, driver, number):
    """The lock file of a killed process stays, but the next process can take the lock."""
    driver.send_signal(number)
    assert driver.wait() == -number
    assert (tmp_path / "runs" / "a" / "lock").exists()
    assert drive(tmp_path / "runs" / "a") == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_a_process_that_ends_leaves_the_sweep_free_and_keeps_its_files(tmp_path, driver):
    (tmp_path / "runs" / "a" / "best.yaml").touch()
    driver.stdin.close()
    assert driver.wait() == 0
    drive(tmp_path / "runs" / "a")
    assert sorted(path.name for path in (tmp_path / "runs" / "a").iterdir()) == ["best.yaml", "lock"]


def test_a_sweep_that_is_refused_at_its_start_leaves_no_files(tmp_path):
    with pytest.raises(UserError, match="no room"), sweep_lock("a", tmp_path / "runs" / "a"):
        raise UserError("no room")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_file_that_disappears_before_it_is_locked_does_not_count(tmp_path, monkeypatch):
    """The previous holder removes the lock file after this process has opened it.

    Other processes cannot see the removed file, so a lock on it must not count.
    """
    import fcntl

    flock = fcntl.flock

    def remove_then_lock(file, how):
        os.unlink(tmp_path / "lock")
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", remove_then_lock)
    with pytest.raises(TemporaryError, match="is being run by another process"):
        drive(tmp_path)
