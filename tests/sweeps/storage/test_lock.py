"""`sweeps.storage.lock` with real processes: one at a time drives a sweep, and none that is dead stands in the way."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from sweeps.storage.lock import sweep_lock
from tce_core.errors import UserError

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
    """Another process that drives sweep `a`, until its stdin is closed."""
    command = [sys.executable, "-c", DRIVE, tmp_path / "runs" / "a"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "sweep_lock\n"
        yield process
        process.kill()


def drive(folder):
    """What the lock says of its holder while it is held here."""
    with sweep_lock(folder.name, folder):
        return (folder / "lock").read_text()


def test_a_second_process_is_refused_and_told_by_whom(tmp_path, driver):
    for _ in range(2):  # being refused changes nothing
        with pytest.raises(UserError) as caught:
            drive(tmp_path / "runs" / "a")
        who = f"process {driver.pid} on {socket.gethostname()}"
        assert str(caught.value) == f"sweep 'a' is being run by {who}; wait for it, or stop it first"


def test_another_sweep_is_free(tmp_path, driver):
    assert f"process {os.getpid()} " in drive(tmp_path / "runs" / "b")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_leaves_the_sweep_free(tmp_path, driver, number):
    driver.send_signal(number)
    assert driver.wait() == -number
    assert (tmp_path / "runs" / "a" / "lock").exists()
    assert drive(tmp_path / "runs" / "a") == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_a_process_that_ends_leaves_the_sweep_free_and_what_it_made(tmp_path, driver):
    (tmp_path / "runs" / "a" / "best.yaml").touch()
    driver.stdin.close()
    assert driver.wait() == 0
    drive(tmp_path / "runs" / "a")
    assert sorted(path.name for path in (tmp_path / "runs" / "a").iterdir()) == ["best.yaml", "lock"]


def test_a_sweep_that_is_refused_as_it_begins_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="no room"), sweep_lock("a", tmp_path / "runs" / "a"):
        raise UserError("no room")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_removes_while_one_waits_for_it_is_not_held(tmp_path, monkeypatch):
    """The other one has opened the file when it goes: it must not lock what nobody else can see."""
    import fcntl

    flock = fcntl.flock

    def too_late(file, how):
        os.unlink(tmp_path / "lock")
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", too_late)
    with pytest.raises(UserError, match="is being run by another process"):
        drive(tmp_path)
