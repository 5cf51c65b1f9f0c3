"""Read a data set: a folder of Arrow files, one per split, mapped into memory so that only used pixels are read."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tce_core.data.schema import ClassInfo, Metadata, fingerprint, read_metadata
from tce_core.data.writer import SplitWriter, new_folder
from tce_core.errors import UserError

__all__ = ["ClassInfo", "Dataset", "Split", "SplitWriter", "new_folder", "open_dataset"]


class Split:
    """One split of a data set: N images with their masks. Opening it reads sizes and counts, but no pixels.

    Pickling stores only the path; the process that unpickles the split opens the file again.

    Attributes:
        path: the Arrow file.
        name: `train`, `val` or `test`.
        classes: the K classes, in the order of their label ids.
        source: where the data came from, in words.
        fingerprint: 64 hex digits that change with the classes and with the name, size or pixels of any row.
        pixel_counts: (N, K) int64, pixels of each class in each mask; void pixels do not count.
        sizes: (N, 2) int64, height and width of each image.
    """

    def __init__(self, path: str | Path) -> None:
        """Open an Arrow file.

        Raises:
            UserError: the file is missing, damaged, empty or of another version.
        """
        self.path = Path(path)
        self._batches, metadata = _read_batches(self.path)
        self.name, self.classes, self.source = metadata.split, metadata.classes, metadata.source
        self._starts = np.cumsum([0] + [batch.num_rows for batch in self._batches])
        if not len(self):
            raise UserError(f"{self.path}: the split is empty; it needs at least one image")
        self.fingerprint = fingerprint(self.classes, b"".join(self._column("digest", lambda c: c.to_pylist())))
        self.pixel_counts = np.concatenate(self._column("pixels", lambda c: [_numpy(c.flatten())]))
        self.pixel_counts = self.pixel_counts.reshape(len(self), self.num_classes)
        sides = [np.concatenate(self._column(side, lambda c: [_numpy(c)])) for side in ("height", "width")]
        self.sizes = np.stack(sides, axis=1).astype(np.int64)

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(info.name for info in self.classes)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, index: int) -> np.ndarray:
        """Return an image as (H, W, 3) uint8 RGB, a read-only view of the file.

        Raises:
            IndexError: `index` is not in 0..N-1.
        """
        return self._bytes("image", index).reshape(*self.sizes[index], 3)

    def mask(self, index: int) -> np.ndarray:
        """Return a mask as (H, W) uint8 label ids, 255 = void, a read-only view of the file.

        Raises:
            IndexError: `index` is not in 0..N-1.
        """
        return self._bytes("mask", index).reshape(*self.sizes[index])

    def row_name(self, index: int) -> str:
        """Return the name that an image had before conversion.

        Raises:
            IndexError: `index` is not in 0..N-1.
        """
        batch, row = self._place(index)
        return str(batch.column("name")[row].as_py())

    def __repr__(self) -> str:
        return f"Split({str(self.path)!r}: {len(self)} images, {self.num_classes} classes)"

    def __reduce__(self) -> tuple[type["Split"], tuple[Path]]:
        return Split, (self.path.absolute(),)

    def _bytes(self, column: str, index: int) -> np.ndarray:
        """Return the bytes of a large_binary cell as a view of the file; pyarrow's own scalars are copies."""
        batch, row = self._place(index)
        cells = batch.column(column)
        _, offsets, values = cells.buffers()
        start, end = np.frombuffer(offsets, np.int64, 2, 8 * (cells.offset + row)).tolist()
        return np.frombuffer(values, np.uint8, end - start, start)

    def _place(self, index: int) -> tuple[Any, int]:
        """Return the record batch that holds an image, and its row there."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in {self.path}")
        batch = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self._batches[batch], int(index - self._starts[batch])

    def _column(self, name: str, read: Callable[[Any], list[Any]]) -> list[Any]:
        return [value for batch in self._batches for value in read(batch.column(name))]


def _read_batches(path: Path) -> tuple[list[Any], Metadata]:
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        metadata = read_metadata(reader.schema, str(path))
        return [reader.get_batch(i) for i in range(reader.num_record_batches)], metadata
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a complete Arrow file: truncated or of another kind; convert again") from error


def _numpy(array: Any) -> np.ndarray:
    return np.from_dlpack(array)  # Arrow's own to_numpy imports pandas, which takes a second


@dataclass(frozen=True)
class Dataset:
    """An open data set: its folder, the name of the folder, and its splits, which all have the same classes."""

    path: Path
    name: str
    train: Split
    val: Split
    test: Split | None

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        return self.train.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    @property
    def num_classes(self) -> int:
        return self.train.num_classes

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change with any split, image, mask or class, but not with the folder's name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        text = " ".join(f"{name}={split.fingerprint}" for name, split in splits.items() if split is not None)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def require_trainable(self) -> None:
        """Check that every class has a pixel in the train split.

        Raises:
            UserError: some classes have none; the message names them.
        """
        absent = [self.class_names[i] for i in np.flatnonzero(self.train.pixel_counts.sum(axis=0) == 0)]
        if absent:
            raise UserError(
                f"{self.train.path}: no pixel of class {', '.join(absent)} in the train split; "
                "remove it from classes.json and convert again, or add training images that show it"
            )


def open_dataset(path: str | Path) -> Dataset:
    """Open the data set in a folder: `train.arrow`, `val.arrow` and, if it exists, `test.arrow`.

    Raises:
        UserError: the folder or a file is missing, a file is damaged, empty or of another version, or the splits have
            different classes.
    """
    path = Path(path)
    _check_folder(path)
    train, val = Split(path / "train.arrow"), Split(path / "val.arrow")
    test = Split(path / "test.arrow") if (path / "test.arrow").exists() else None
    for split in (val, test):
        if split is not None and split.classes != train.classes:
            raise UserError(_disagreement(train, split))
    return Dataset(path, path.absolute().name, train, val, test)


def _check_folder(path: Path) -> None:
    command = "python -m tce_core.data.convert"
    if not path.exists():
        raise UserError(f"{path}: no such data set; make one with `{command} streets {path}`, or `{command} --help`")
    if not path.is_dir():
        raise UserError(f"{path}: a file, not a data set; a data set is a folder with train.arrow and val.arrow")
    missing = [name for name in ("train.arrow", "val.arrow") if not (path / name).is_file()]
    if len(missing) == 2 and (path / "classes.json").is_file():
        raise UserError(f"{path}: not converted yet; run `{command} folder {path} {path}-arrow` and use {path}-arrow")
    if missing:
        raise UserError(f"{path}: {' and '.join(missing)} missing; convert the data set with `{command}`")


def _disagreement(train: Split, other: Split) -> str:
    if train.num_classes != other.num_classes:
        detail = f"{other.num_classes} classes, but train has {train.num_classes}"
    else:
        one, two = next((a, b) for a, b in zip(train.classes, other.classes, strict=True) if a != b)
        detail = f"class {two.id} is {two.name!r} {two.color}, but {one.name!r} {one.color} in train"
    return f"{other.path}: {detail}; all splits must have the same classes, convert them together"
