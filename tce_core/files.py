"""Write files so that a reader sees either the old content or the new content, never a part."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the same folder; it replaces `path` if the block ends without an error.

    After an error the temporary file is removed and `path` is unchanged. The new content is flushed to the disk before
    the file is renamed, so a power failure cannot leave an empty file.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    # With the process id in the name, two processes that write the same file use different temporary files.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
