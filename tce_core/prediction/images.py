"""The photographs that a person names, by files and folders, and where their outputs go."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from tce_core.data.layout import read_image
from tce_core.errors import UserError, file_error
from tce_core.threads import single_threaded_pool

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
"""What an image in a folder is told by. A file that is named itself may have any name."""


@dataclass(frozen=True)
class Photograph:
    """An image file, and its outputs: `target` with another suffix each."""

    source: Path
    target: Path
    """Without a suffix."""

    def output(self, suffix: str) -> Path:
        return self.target.with_name(self.target.name + suffix)


def find_photographs(paths: Sequence[Path], out: Path) -> list[Photograph]:
    """Find the images in files and folders, sorted. Their outputs mirror the folders below the deepest common one.

    Args:
        paths: files and folders. Of a folder, at any depth, hidden files and folders and files that are no images are
            left out; so is `out`, with the outputs of an earlier run.
        out: the folder of the outputs.

    Raises:
        UserError: a path does not exist, there are no images, two images would have the same output, or an output
            would lie beside an image.
    """
    files = {os.path.abspath(file): file for path in paths for file in _files(path, out)}
    if not files:
        where = ", ".join(map(str, paths))
        raise UserError(f"{where}: no images; they are told by {', '.join(SUFFIXES)}")
    # One root for all arguments: so `day/1.jpg` and `night/1.jpg` have different outputs, however they are named.
    root = os.path.commonpath([os.path.abspath(path if path.is_dir() else path.parent) for path in paths])
    found: dict[Path, Photograph] = {}
    for place, file in sorted(files.items()):
        target = out / Path(place).relative_to(root).with_suffix("")
        if target in found:
            raise UserError(f"{file}: {found[target].source} has the same output {target}.png; move one of the two")
        found[target] = Photograph(file, target)
    _check_apart(found.values())
    return list(found.values())


def read_ahead(photographs: Sequence[Photograph]) -> Iterator[tuple[Photograph, np.ndarray | UserError]]:
    """Yield each photograph as (H, W, 3) uint8 RGB, upright, or what is wrong with it. The next one is read meanwhile.

    16-bit grey values are refused; see `read_image`.
    """

    def read(photograph: Photograph) -> np.ndarray | UserError:
        try:
            return read_image(photograph.source, upright=True)
        except UserError as error:
            return error

    with single_threaded_pool(1, "photographs") as reader:
        following = [reader.submit(read, photograph) for photograph in photographs[:1]]
        for position, photograph in enumerate(photographs):
            image = following.pop().result()
            following += [reader.submit(read, later) for later in photographs[position + 1 : position + 2]]
            yield photograph, image


def _files(path: Path, out: Path) -> list[Path]:
    """The images of one argument."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    outputs, found = out.resolve(), []
    for folder, below, names in os.walk(path, onerror=_refuse):
        here = Path(folder)
        below[:] = [name for name in below if not name.startswith(".") and (here / name).resolve() != outputs]
        found += [here / name for name in names if not name.startswith(".") and name.lower().endswith(SUFFIXES)]
    return found


def _refuse(error: OSError) -> NoReturn:
    raise file_error(str(error.filename), "the folder cannot be read", error)


def _check_apart(photographs: Iterable[Photograph]) -> None:
    """Refuse outputs beside images: they would replace images, or be taken for images by the next run."""
    folders = {photograph.source.parent.resolve() for photograph in photographs}
    for photograph in photographs:
        if photograph.target.parent.resolve() in folders:
            raise UserError(
                f"{photograph.target}.png: would lie beside images that are read; give --out a folder of its own"
            )
