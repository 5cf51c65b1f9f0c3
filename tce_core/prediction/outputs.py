"""What a prediction leaves: a mask, a picture of it over the photograph, and probabilities."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy
from PIL import Image
from torch import Tensor

from tce_core import VOID
from tce_core.data.schema import ClassInfo
from tce_core.errors import file_error
from tce_core.files import replacing

Bytes = npt.NDArray[np.uint8]
OPACITY = 0.5
"""How much of the colour of its class a pixel of an overlay has."""


def colours_of(classes: Sequence[ClassInfo]) -> Bytes:
    """Return (256, 3) uint8: the colour of each class id; what is no class is black."""
    colours = np.zeros((VOID + 1, 3), np.uint8)
    colours[: len(classes)] = [info.color for info in classes]
    return colours


def write_mask(path: Path, mask: Bytes, colours: Bytes) -> None:
    """Write a mask (H, W) uint8 as a palette PNG: the values are class ids, and viewers show `colours` (256, 3).

    Raises:
        UserError: the file cannot be written.
    """
    image = Image.fromarray(mask)
    image.putpalette(colours.tobytes())
    with _written(path) as partial:
        image.save(partial, "png")


def write_overlay(path: Path, image: Bytes, mask: Bytes, colours: Bytes) -> None:
    """Write a photograph (H, W, 3) uint8 with the colours of its classes over it, as JPEG.

    Raises:
        UserError: the file cannot be written.
    """
    painted = Image.blend(Image.fromarray(image), Image.fromarray(colours[mask]), OPACITY)
    with _written(path) as partial:
        painted.save(partial, "jpeg", quality=90)


class Probabilities:
    """A file of numpy, (K, H, W) float16 in C order, that is filled rows by rows.

    It is not a memory map: on a full disk that would end the process by a signal.
    """

    def __init__(self, file: BinaryIO, classes: int, height: int, width: int) -> None:
        self.file, self.shape = file, (classes, height, width)
        header = {"descr": npy.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": self.shape}
        npy.write_array_header_1_0(file, header)
        self.start = file.tell()

    def write(self, top: int, values: Tensor) -> None:
        """Write the rows from `top` on: (K, h, W) float."""
        _, height, width = self.shape
        for k, plane in enumerate(values.half().cpu().numpy()):
            self.file.seek(self.start + 2 * width * (k * height + top))
            self.file.write(plane.tobytes())


@contextlib.contextmanager
def probabilities(path: Path, classes: int, height: int, width: int) -> Iterator[Probabilities]:
    """Open a file of probabilities, which appears when the block has filled it.

    Raises:
        UserError: the file cannot be written.
    """
    with _written(path) as partial, open(partial, "wb") as file:
        yield Probabilities(file, classes, height, width)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[Path]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            yield partial
    except OSError as error:
        raise file_error(path, "cannot be written", error) from None
