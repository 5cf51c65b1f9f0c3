"""Write a data set: a split row by row in bounded memory, and a new folder that appears complete or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tce_core import VOID
from tce_core.data.schema import ClassInfo, Metadata, arrow_schema, check_classes, row_digest
from tce_core.errors import UserError
from tce_core.files import replacing

# Rows stay in memory up to this size, so that a data set of any size converts in bounded memory.
BATCH_BYTES = 32 * 2**20


class SplitWriter:
    """Write the Arrow file of one split: `with SplitWriter(path, classes, source, split) as writer: writer.add(...)`.

    The file appears at `path` when the block ends without an exception. Otherwise nothing is left behind, and an older
    file at `path` stays as it was.

    Args:
        path: the file to write.
        classes: the K classes, in the order of their ids.
        source: where the data comes from, in words.
        split: `train`, `val` or `test`.

    Raises:
        UserError: the classes are wrong (see `check_classes`), or the block ends without a row.
    """

    def __init__(self, path: str | Path, classes: Sequence[ClassInfo], source: str, split: str) -> None:
        self.path = Path(path)
        self.classes = check_classes(classes, str(path))
        self.schema = arrow_schema(Metadata(split, self.classes, source))
        self._file_stack = ExitStack()
        self._names: set[str] = set()
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        partial = self._file_stack.enter_context(replacing(self.path))
        sink = self._file_stack.enter_context(pa.OSFile(str(partial), "wb"))
        self._file = self._file_stack.enter_context(pa.ipc.new_file(sink, self.schema))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._file_stack.__exit__(kind, error, trace)
            return
        with self._file_stack:
            self._flush()
            if not self._names:
                raise UserError(f"{self.path}: the split is empty; it needs at least one image")

    def add(self, name: str, image: np.ndarray, mask: np.ndarray) -> None:
        """Append a row.

        Args:
            name: a name that no other row of this split has.
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) uint8 label ids, 255 = void.

        Raises:
            UserError: a shape or dtype is wrong, the sizes differ, the name is used already, or a label id is not one
                of 0..K-1 and 255; the message names the row.
        """
        _check_arrays(name, image, mask)
        if name in self._names:
            raise UserError(f"{name}: this name is used by two images of one split; names must be unique")
        counts = np.bincount(mask.ravel(), minlength=VOID + 1)
        num_classes = len(self.classes)
        if unknown := [int(i) for i in np.flatnonzero(counts[:VOID]) if i >= num_classes]:
            raise UserError(
                f"{name}: its mask holds label id {', '.join(map(str, unknown))}; "
                f"allowed are 0..{num_classes - 1} and {VOID} (void)"
            )
        pixels, labels = image.tobytes(), mask.tobytes()
        row = {
            "name": name,
            "height": mask.shape[0],
            "width": mask.shape[1],
            "image": pixels,
            "mask": labels,
            "pixels": counts[:num_classes].tolist(),
            "digest": row_digest(name, mask.shape, pixels, labels),
        }
        self._names.add(name)
        self._rows.append(row)
        self._bytes += len(pixels) + len(labels)
        if self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._file.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self.schema))
        self._rows, self._bytes = [], 0


def _check_arrays(name: str, image: np.ndarray, mask: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f"{name}: its image is {image.dtype} {image.shape}; it must be uint8 (H, W, 3), not empty")
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise UserError(f"{name}: its mask is {mask.dtype} {mask.shape}; it must be uint8 (H, W)")
    if image.shape[:2] != mask.shape:
        sizes = " but its mask ".join(f"{height}x{width}" for height, width in (image.shape[:2], mask.shape))
        raise UserError(f"{name}: its image is {sizes} (height x width); both must have the same size")


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `path` at the end, or removed after an exception.

    Raises:
        UserError: `path` is a file or a folder that is not empty.
    """
    path = Path(path).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: exists already and is not an empty folder; choose another path or remove it first")
    # The process id keeps two conversions into the same path apart.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:  # also after Ctrl-C nothing half-written is left
        shutil.rmtree(partial, ignore_errors=True)
        raise
