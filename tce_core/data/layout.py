"""The common description of every raw data set: classes, pairs of image and mask files, and a map of label ids."""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from tce_core import VOID
from tce_core.data.schema import ClassInfo
from tce_core.errors import UserError

UNKNOWN = -1
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of each orientation upright (EXIF 2.3, tag 0x0112)."""
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
INDEX_MODES = ("L", "P")  # Pillow's names for 8-bit grey and 8-bit palette: the value of a pixel is its label id
# Pillow raises any of these for a damaged file.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class Pair:
    """An image file, the file of its mask, and their name in the converted data set."""

    name: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Layout:
    """A raw data set whose files are found but not decoded yet."""

    classes: tuple[ClassInfo, ...]
    splits: dict[str, list[Pair]]
    labels: np.ndarray
    """(256,) int16: the label id for each value in the mask files, 255 for void, or `UNKNOWN` for a forbidden value."""


def label_map(known: dict[int, int]) -> np.ndarray:
    """Return a map for `Layout.labels`, (256,) int16, in which only the `known` values are allowed."""
    labels = np.full(256, UNKNOWN, np.int16)
    labels[list(known)] = list(known.values())
    return labels


def match(images: dict[str, Path], masks: dict[str, Path], image_place: Path, mask_place: Path) -> list[Pair]:
    """Pair the images and masks of equal names, sorted by name.

    Args:
        images: the image files by name.
        masks: the mask files by name.
        image_place: where the images should be, for error messages.
        mask_place: where the masks should be, for error messages.

    Raises:
        UserError: an image has no mask, a mask has no image, or there are no images.
    """
    for name in sorted(images.keys() ^ masks.keys()):
        if name in images:
            raise UserError(f"{images[name]}: no mask for this image; add {name} to {mask_place} or remove the image")
        raise UserError(f"{masks[name]}: no image for this mask; add {name} to {image_place} or remove the mask")
    if not images:
        raise UserError(f"{image_place}: no images here; a split needs at least one")
    return [Pair(name, images[name], masks[name]) for name in sorted(images)]


def files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by their stems (names without suffix). Hidden files are left out.

    Raises:
        UserError: the folder is missing, a file has another suffix, or two files have the same stem.
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
    """Return the folder itself.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; the layout of the data set needs it")
    return folder


def read_image(path: Path, upright: bool = False) -> np.ndarray:
    """Return an image file as (H, W, 3) uint8 RGB. Transparency is dropped.

    Args:
        path: the file.
        upright: whether to turn and mirror the pixels as the orientation in the file (EXIF) says. Masks of a data set
            are drawn on the pixels as they are stored, so its images are read without this.

    Raises:
        UserError: the file is damaged or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise UserError(f"{path}: its pixels are {picture.mode}; an image must have 8 bits per channel")
            return np.asarray((_upright(picture) if upright else picture).convert("RGB"))
    except DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded ({_one_line(error)}); replace the file") from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turn an image. Pillow's `exif_transpose` also writes the tags anew, and fails if one of them is damaged."""
    picture.load()  # Pillow itself turns a TIFF here, and then takes the tag away
    try:
        turn = UPRIGHT.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODING_ERRORS:  # the pixels are sound, so damaged tags are as good as none
        turn = None
    return picture if turn is None else picture.transpose(turn)


def read_mask(path: Path, labels: np.ndarray) -> np.ndarray:
    """Return a mask file as (H, W) uint8 label ids, 255 = void.

    Args:
        path: the file.
        labels: the map of its values; see `Layout.labels`.

    Raises:
        UserError: the file is damaged, is not an 8-bit grey or palette image, or holds an unknown value.
    """
    try:
        with Image.open(path) as picture:
            # Pillow stretches grey values of 2 or 4 bits to 0..255, which would change the label ids without notice.
            mode = picture.tile[0].args if picture.mode == "L" and picture.tile else picture.mode
            if mode not in INDEX_MODES:
                raise UserError(f"{path}: its mode is {mode}; a mask must be 8-bit grey or palette (L or P)")
            values = np.asarray(picture)
    except DECODING_ERRORS as error:
        raise UserError(f"{path}: cannot be decoded ({_one_line(error)}); replace the file") from error
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    if unknown := [int(value) for value in present if labels[value] == UNKNOWN]:
        known = np.flatnonzero(labels[:VOID] != UNKNOWN)
        also = f" and {VOID} (void)" if labels[VOID] == VOID else ""
        raise UserError(
            f"{path}: label id {', '.join(map(str, unknown))} in the mask; allowed are {known[0]}..{known[-1]}{also}"
        )
    mapped: np.ndarray = labels.astype(np.uint8)[values]
    return mapped


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
