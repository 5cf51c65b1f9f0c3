"""What every raw data set comes down to: classes, image and mask files in pairs, and a map of the masks' label ids."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tce_core import VOID
from tce_core.data.schema import ClassInfo
from tce_core.errors import UserError

UNKNOWN = -1
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
INDEX_MODES = ("L", "P")  # Pillow's names for 8-bit grey and 8-bit palette, where a pixel's value is its label id
# Pillow reports a damaged file with any of these.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Pair:
    """An image file, its mask's file, and the name they go by in the converted data set."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """A raw data set, found but not decoded.

    ``labels`` (256,) int16 maps a value in the mask files to a label id, to 255 (void), or to ``UNKNOWN`` where the
    value has no business in a mask.
    """

    classes: tuple[ClassInfo, ...]
    splits: dict[str, list[Pair]]
    labels: np.ndarray


def label_map(known: dict[int, int]) -> np.ndarray:
    """The (256,) int16 map for ``Layout.labels`` that knows just these values."""
    labels = np.full(256, UNKNOWN, np.int16)
    labels[list(known)] = list(known.values())
    return labels


def match(images: dict[str, Path], masks: dict[str, Path], image_place: Path, mask_place: Path) -> list[Pair]:
    """Images and masks of equal names as pairs, sorted by name.

    Raises UserError for an image without a mask, a mask without an image, and if there are none at all; the places
    say, in the message, where the missing file should be.
    """
    for name in sorted(images.keys() ^ masks.keys()):
        if name in images:
            raise UserError(f"{images[name]}: no mask for this image; add {name} to {mask_place} or remove the image")
        raise UserError(f"{masks[name]}: no image for this mask; add {name} to {image_place} or remove the mask")
    if not images:
        raise UserError(f"{image_place}: no images here; a split needs at least one")
    return [Pair(name, images[name], masks[name]) for name in sorted(images)]


def files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder by their names without suffix, hidden ones left out.

    Raises UserError if the folder is missing, a file has another suffix, or two files share a stem.
    """
    require_folder(folder)
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in suffixes:
            raise UserError(f"{path}: not one of {', '.join(suffixes)}; remove it or convert it")
        if path.stem in found:
            raise UserError(f"{path}: {found[path.stem].name} has the same stem; keep one of the two")
        found[path.stem] = path
    return found


def require_folder(folder: Path) -> Path:
    """The folder itself; UserError if it is not there."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; the layout of the data set needs it")
    return folder


def read_image(path: Path) -> np.ndarray:
    """The image file as (H, W, 3) uint8 RGB; UserError if it is damaged or has more than 8 bits per channel."""
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise UserError(f"{path}: its pixels are {picture.mode}; an image must have 8 bits per channel")
            return np.asarray(picture.convert("RGB"))
    except DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded ({_one_line(error)}); replace the file") from error


def read_mask(path: Path, labels: np.ndarray) -> np.ndarray:
    """The mask file as (H, W) uint8 label ids, 255 = void, mapped by ``labels``.

    Raises UserError if it is damaged, is not an 8-bit grey or palette image, or holds a value the map does not know.
    """
    try:
        with Image.open(path) as picture:
            # Pillow spreads grey of 2 or 4 bits over 0..255, which would change the label ids silently.
            mode = picture.tile[0].args if picture.mode == "L" and picture.tile else picture.mode
            if mode not in INDEX_MODES:
                raise UserError(f"{path}: its mode is {mode}; a mask must be 8-bit grey or palette (L or P)")
            values = np.asarray(picture)
    except DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded ({_one_line(error)}); replace the file") from error
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if strangers := [int(value) for value in present if labels[value] == UNKNOWN]:
        known = np.flatnonzero(labels[:VOID] != UNKNOWN)
        also = f" and {VOID} (void)" if labels[VOID] == VOID else ""
        raise UserError(
            f"{path}: label id {', '.join(map(str, strangers))} in the mask; allowed are {known[0]}..{known[-1]}{also}"
        )
    mapped: np.ndarray = labels.astype(np.uint8)[values]
    return mapped


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
