"""`tce_core.files`: a file is replaced as a whole or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from tce_core.files import replacing


def test_the_new_content_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_content_stays_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted():
        with replacing(path) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_place_that_cannot_be_written_is_an_oserror(tmp_path):
    with pytest.raises(OSError), replacing(tmp_path / "no" / "folder" / "a.txt") as partial:  # noqa: PT011
        partial.write_text("new")
    assert os.listdir(tmp_path) == []


def test_what_a_killed_process_left_behind_is_removed_and_a_living_ones_file_stays(tmp_path):
    """Checkpoints are large, and a trial writes one per epoch."""
    path = tmp_path / "a.pt"
    code = f"""
import os, signal
from pathlib import Path
from tce_core.files import replacing
with replacing(Path({str(path)!r})) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    others = tmp_path / f".a.pt.{os.getppid()}.partial"
    others.write_text("another process is writing")
    with replacing(path) as partial:
        partial.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, others])


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(OSError, match="not a regular file"), replacing(fifo):
        pass
    assert fifo.is_fifo()
