"""Write files so that a reader sees either the old content or the new content, never a part."""

import contextlib
import errno
import glob
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the same folder; it replaces `path` if the block ends without an error.

    After an error the temporary file is removed and `path` is unchanged. The new content is flushed to the disk before
    the file is renamed, so a power failure cannot leave an empty file.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; or `path` is not a regular file.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))  # such as a device, which would be replaced
    # With the process id in the name, two processes that write the same file use different temporary files.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    _remove_leftovers(path)
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote `path`: checkpoints are large."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        owner = leftover.name.split(".")[-2]
        if owner.isdecimal() and not _is_alive(int(owner)):
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # such as the process of another user
        return True
    return True
