"""Write files and folders so that a reader sees either the old content or the new content, never a part."""

import contextlib
import errno
import glob
import os
import shutil
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


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder beside `path`; it replaces `path` if the block ends without an error.

    After an error the temporary folder is removed and `path` is unchanged. A process that is killed while it replaces
    an older folder can leave none, but never a part of one.

    Raises:
        OSError: the folder cannot be written; or `path` is not a folder.
    """
    path = path.resolve()  # what a link points to is replaced, not the link
    if path.exists() and not path.is_dir():
        raise OSError(errno.ENOTDIR, "not a folder", str(path))
    partial, old = (path.with_name(f".{path.name}.{kind}{os.getpid()}.partial") for kind in ("", "old."))
    _remove_leftovers(path)
    partial.mkdir()
    try:
        yield partial
        for written in (*partial.rglob("*"), partial):
            _flush(written)
        if path.exists():  # a folder that is not empty cannot be replaced in one step
            os.replace(path, old)
        try:
            os.replace(partial, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left: checkpoints are large."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        owner = leftover.name.split(".")[-2]
        if not owner.isdecimal() or _is_alive(int(owner)):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # such as the process of another user
        return True
    return True
