"""One training crop: cut a window out of an image, then scale and flip it. Colours are changed later (`colours.py`).

The order matters for speed: the uint8 window is cut out of the memory-mapped arrays first, so that only its pixels are
read and resized. Pixels stay uint8: torch resizes them several times faster than floats. A crop that is not resized is
a view of the image: the copy into the batch is the only one.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from tce_core import VOID

PADDING = (124, 116, 104)  # the mean colour of ImageNet, which is zero after normalisation


@dataclass(frozen=True)
class CropSettings:
    """How crops are made."""

    size: tuple[int, int]
    """Height h and width w of the crop, in pixels."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Lowest and highest factor by which the image is resized; uniform between them."""
    flip: bool = False
    """Whether half of the crops are mirrored left to right."""
    jitter: float = 0.0
    """Strength of the colour changes (0 to 1); see `colours.jitter`."""


def random_crop(
    image: np.ndarray, mask: np.ndarray, settings: CropSettings, rng: np.random.Generator, focus: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random crop of one image and its mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 label ids.
        settings: how the crop is made.
        rng: the source of every random choice.
        focus: a class of the mask. The crop then contains a random pixel of this class and always shows the class.

    Returns:
        The crop, (h, w, 3) uint8, and its labels, (h, w) uint8; they can be views of the image and its mask. Pixels
        outside the image are void and have ImageNet's mean colour.

    Raises:
        ValueError: the mask has no pixel of class `focus`.
    """
    scale = float(rng.uniform(*settings.scale))
    pixel = None if focus is None else _random_pixel(mask, focus, rng)
    crop, labels = cut(image, mask, settings.size, *_place(mask.shape, settings.size, scale, pixel, rng))
    if focus is not None and not (labels == focus).any():
        # Nearest-neighbour shrinking can drop a thin class. At scale 1 nothing is resampled.
        crop, labels = cut(image, mask, settings.size, *_place(mask.shape, settings.size, 1.0, pixel, rng))
    if settings.flip and rng.random() < 0.5:
        crop, labels = _mirrored(crop), _mirrored(labels)
    return crop, labels


def _random_pixel(mask: np.ndarray, focus: int, rng: np.random.Generator) -> tuple[int, int]:
    candidates = np.flatnonzero(mask == focus)
    if not len(candidates):
        raise ValueError(f"the mask holds no pixel of class {focus}")
    y, x = divmod(int(rng.choice(candidates)), mask.shape[1])
    return y, x


def _place(
    shape: tuple[int, int],
    size: tuple[int, int],
    scale: float,
    pixel: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Choose the window that has `size` after enlarging by `scale`; it contains `pixel`, if given.

    Returns:
        Its height and width, and its top and left edge, which can be outside the image.
    """
    window = (max(1, round(size[0] / scale)), max(1, round(size[1] / scale)))
    top = _start(shape[0], window[0], None if pixel is None else pixel[0], rng)
    left = _start(shape[1], window[1], None if pixel is None else pixel[1], rng)
    return window, (top, left)


def cut(
    image: np.ndarray, mask: np.ndarray, size: tuple[int, int], window: tuple[int, int], corner: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a window out of an image and its mask, and resize it.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 label ids.
        size: height and width of the result.
        window: height and width of the window.
        corner: top and left edge of the window, which can be outside the image.

    Returns:
        See `random_crop`.
    """
    bottom, right = corner[0] + window[0], corner[1] + window[1]
    inside = min(corner) >= 0 and bottom <= mask.shape[0] and right <= mask.shape[1]
    if not inside:
        crop, labels = _padded(image, mask, window, corner)
    else:
        crop, labels = image[corner[0] : bottom, corner[1] : right], mask[corner[0] : bottom, corner[1] : right]
    return (crop, labels) if window == size else (_resize(crop, size), _resize_labels(labels, size))


def _padded(
    image: np.ndarray, mask: np.ndarray, window: tuple[int, int], corner: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Copy a window that is partly outside the image."""
    (height, width), (top, left) = mask.shape, corner
    crop = np.empty((*window, 3), np.uint8)
    crop[0] = PADDING
    crop[1:] = crop[0]  # whole rows are copied much faster than pixels
    labels = np.full(window, VOID, np.uint8)
    y0, y1, x0, x1 = max(top, 0), min(top + window[0], height), max(left, 0), min(left + window[1], width)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    labels[y0 - top : y1 - top, x0 - left : x1 - left] = mask[y0:y1, x0:x1]
    return crop, labels


def _resize(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (H, W, 3) uint8 bilinearly and with antialiasing to (h, w, 3)."""
    crop_bchw = torch.from_numpy(np.require(crop, requirements=["C", "W"]))[None].permute(0, 3, 1, 2)
    resized: np.ndarray = F.interpolate(crop_bchw, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1)[0].numpy()
    return resized


def _mirrored(pixels: np.ndarray) -> np.ndarray:
    """Return (h, w, ...) mirrored left to right: `pixels[:, ::-1]`, which torch copies eight times as fast."""
    mirrored: np.ndarray = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).flip(1).numpy()
    return mirrored


def _resize_labels(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take the label at the centre of each new pixel (`nearest-exact`); the upper left corner is half a pixel off."""
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)
        for new, old in zip(size, labels.shape, strict=True)
    )
    resized: np.ndarray = labels.take(rows, axis=0).take(columns, axis=1)
    return resized


def _start(length: int, window: int, must_show: int | None, rng: np.random.Generator) -> int:
    """Return the start of a window along one axis: within the image or, if larger, around it; it covers `must_show`."""
    low, high = min(0, length - window), max(0, length - window)
    if must_show is not None:
        low, high = max(low, must_show - window + 1), min(high, must_show)
    return int(rng.integers(low, high + 1))
