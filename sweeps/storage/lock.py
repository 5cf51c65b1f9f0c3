"""One process at a time drives a sweep."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tce_core.errors import UserError


@contextlib.contextmanager
def sweep_lock(name: str, folder: Path) -> Iterator[None]:
    """Hold the lock in a sweep's folder. The operating system frees it when the process ends, however it ends.

    Raises:
        UserError: another process holds it; the message says which. Or there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the sweep's folder cannot be made: {error.strerror}") from None
    path = folder / "lock"
    with open(path, "a+", encoding="utf-8") as file:
        if not _locked(file):
            file.seek(0)
            who = file.read().strip() or "another process"
            raise UserError(f"sweep '{name}' is being run by {who}; wait for it, or stop it first")
        with contextlib.suppress(OSError):  # on a full disk the lock holds, but does not say whose it is
            file.truncate(0)
            os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # a folder that is not empty, or not ours
                if os.listdir(folder) == [path.name]:  # refused before it began: nothing is left behind
                    path.unlink()
                    folder.rmdir()
                    folder.parent.rmdir()


def _locked(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # else its holder, just leaving, has removed it
