"""The lock of a sweep: one process at a time runs it."""

import contextlib
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sweeps.storage.folder import RAY
from tce_core.errors import TemporaryError, file_error


@contextlib.contextmanager
def sweep_lock(name: str, folder: Path) -> Iterator[None]:
    """Hold the lock in a sweep's folder. The operating system frees it when the process ends, however it ends.

    Raises:
        TemporaryError: another process holds the lock; the message says which one.
        UserError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_error(folder, "the sweep's folder cannot be made", error) from None
    path = folder / "lock"
    with open(path, "a+", encoding="utf-8") as file:
        if not _locked(file):
            file.seek(0)
            who = file.read().strip() or "another process"
            raise TemporaryError(f"sweep '{name}' is being run by {who}; wait for it, or stop it first")
        with contextlib.suppress(OSError):  # on a full disk the lock works, but does not name its holder
            file.truncate(0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            _remove_if_unused(path)


def lock_holder(folder: Path) -> str | None:
    """Who runs the sweep in a folder, such as `process 123 on host`; None if nobody does."""
    try:
        with open(folder / "lock", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read().strip() or "another process"
    except OSError:
        return None
    return None


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # 0: the previous holder has just removed the file


def _remove_if_unused(path: Path) -> None:
    """Leave nothing behind if the sweep was refused before it began: its folder holds only the lock and Ray's files."""
    with contextlib.suppress(OSError):  # such as a folder that is not empty, or not ours
        if set(os.listdir(path.parent)) <= {path.name, RAY}:
            shutil.rmtree(path.parent / RAY, ignore_errors=True)
            path.unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()
