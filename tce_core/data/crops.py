"""One training crop: cut a window out of an image, then scale, flip and jitter it.

The order matters for speed: the uint8 window is cut out of the memory-mapped arrays first, so that only its pixels are
read and resized.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

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
    """Strength of the colour changes (0 to 1); see `jitter_colours`."""


def random_crop(
    image: np.ndarray, mask: np.ndarray, settings: CropSettings, rng: np.random.Generator, focus: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return a random crop of one image and its mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 label ids.
        settings: how the crop is made.
        rng: the source of every random choice.
        focus: a class of the mask. The crop then contains a random pixel of this class and always shows the class.

    Returns:
        The crop, (3, h, w) uint8, and its labels, (h, w) uint8. Pixels outside the image are void and have ImageNet's
        mean colour.

    Raises:
        ValueError: the mask has no pixel of class `focus`.
    """
    scale = float(rng.uniform(*settings.scale))
    pixel = None if focus is None else _random_pixel(mask, focus, rng)
    crop, labels = _cut(image, mask, settings.size, scale, pixel, rng)
    if focus is not None and not (labels == focus).any():
        # Nearest-neighbour shrinking can drop a thin class. At scale 1 nothing is resampled.
        crop, labels = _cut(image, mask, settings.size, 1.0, pixel, rng)
    if settings.flip and rng.random() < 0.5:
        crop, labels = crop.flip(-1), labels.flip(-1)
    if settings.jitter:
        crop = jitter_colours(crop, settings.jitter, rng)
    return crop, labels


def jitter_colours(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Change the brightness, contrast, saturation and hue of an image, in random order.

    Args:
        image: (3, H, W) uint8.
        strength: s in 0..1. The first three change by a factor in [1 - s, 1 + s], the hue by at most s / 40 of the
            colour circle.
        rng: the source of the factors and of their order.

    Returns:
        (3, H, W) uint8.
    """
    low, high = 1 - strength, 1 + strength
    factors = rng.uniform(low, high, 3)
    hue = float(rng.uniform(-strength, strength)) / 40
    steps = [
        lambda x: TF.adjust_brightness(x, float(factors[0])),
        lambda x: TF.adjust_contrast(x, float(factors[1])),
        lambda x: TF.adjust_saturation(x, float(factors[2])),
        lambda x: TF.adjust_hue(x, hue),
    ]
    for step in rng.permutation(len(steps)):
        image = steps[step](image)
    return image


def _random_pixel(mask: np.ndarray, focus: int, rng: np.random.Generator) -> tuple[int, int]:
    candidates = np.flatnonzero(mask == focus)
    if not len(candidates):
        raise ValueError(f"the mask holds no pixel of class {focus}")
    y, x = divmod(int(rng.choice(candidates)), mask.shape[1])
    return y, x


def _cut(
    image: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
    scale: float,
    pixel: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """Cut out the window that has `size` after enlarging by `scale`, and resize it; it contains `pixel`, if given."""
    window = (max(1, round(size[0] / scale)), max(1, round(size[1] / scale)))
    height, width = mask.shape
    top = _start(height, window[0], None if pixel is None else pixel[0], rng)
    left = _start(width, window[1], None if pixel is None else pixel[1], rng)
    crop = np.empty((*window, 3), np.uint8)
    labels = np.full(window, VOID, np.uint8)
    y0, y1, x0, x1 = max(top, 0), min(top + window[0], height), max(left, 0), min(left + window[1], width)
    if (y1 - y0, x1 - x0) != window:
        crop[:] = PADDING
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    labels[y0 - top : y1 - top, x0 - left : x1 - left] = mask[y0:y1, x0:x1]
    crop_chw, labels_hw = torch.from_numpy(crop).permute(2, 0, 1), torch.from_numpy(labels)
    if window != size:
        crop_chw = TF.resize(crop_chw, list(size), antialias=True)
        # Plain NEAREST samples at the upper left corner of a pixel: half a pixel off the centres of bilinear resizing.
        labels_hw = TF.resize(labels_hw[None], list(size), InterpolationMode.NEAREST_EXACT)[0]
    return crop_chw, labels_hw


def _start(length: int, window: int, must_show: int | None, rng: np.random.Generator) -> int:
    """Return the start of a window along one axis: within the image or, if larger, around it; it covers `must_show`."""
    low, high = min(0, length - window), max(0, length - window)
    if must_show is not None:
        low, high = max(low, must_show - window + 1), min(high, must_show)
    return int(rng.integers(low, high + 1))
