"""Writing files so that a reader sees the old content or the new one, never a part."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a temporary file beside `path`; it replaces `path` when the block ends without an error.

    After an error the temporary file is removed and `path` is as it was. The new content is on the disk before
    it gets its name, so that a power failure cannot leave an empty file either.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
    """
    # The process id keeps two processes that write to one place from sharing a temporary file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
