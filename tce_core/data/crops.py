"""One training crop: read no more pixels than it needs, then scale, flip and jitter.

Order matters for speed: the window is cut out of the memory-mapped arrays first, as uint8, and only that is resized.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from tce_core import VOID

PADDING = (124, 116, 104)  # ImageNet's mean colour: zero after normalisation


@dataclass(frozen=True)
class CropSettings:
    """Height and width of the crop in pixels, the range of scales, and how strongly colours vary (0 to 1)."""

    size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    jitter: float = 0.0


def random_crop(
    image: np.ndarray, mask: np.ndarray, settings: CropSettings, rng: np.random.Generator, focus: int | None = None
) -> tuple[Tensor, Tensor]:
    """A random crop of one image.

    Args:
        image: (H, W, 3) uint8 RGB; mask: (H, W) uint8.
        focus: a class that the mask holds; the crop is placed on one of its pixels and is sure to show it.

    Returns:
        (3, h, w) uint8 and (h, w) uint8; beyond the image's edge void, in ImageNet's mean colour.
    """
    scale = float(rng.uniform(*settings.scale))
    pixel = None if focus is None else _random_pixel(mask, focus, rng)
    crop, labels = _cut(image, mask, settings.size, scale, pixel, rng)
    if focus is not None and not (labels == focus).any():
        # Shrinking by nearest neighbour may drop a thin class; at scale 1 nothing is resampled.
        crop, labels = _cut(image, mask, settings.size, 1.0, pixel, rng)
    if settings.flip and rng.random() < 0.5:
        crop, labels = crop.flip(-1), labels.flip(-1)
    if settings.jitter:
        crop = jitter_colours(crop, settings.jitter, rng)
    return crop, labels


def jitter_colours(image: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of a (3, H, W) uint8 image vary, in random order."""
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
    places = np.flatnonzero(mask == focus)
    if not len(places):
        raise ValueError(f"the mask holds no pixel of class {focus}")
    y, x = divmod(int(rng.choice(places)), mask.shape[1])
    return y, x


def _cut(
    image: np.ndarray,
    mask: np.ndarray,
    size: tuple[int, int],
    scale: float,
    pixel: tuple[int, int] | None,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """The window that becomes `size` when enlarged by `scale`, resized to it."""
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
        # Plain NEAREST would take each pixel's upper left corner, half a pixel away from the image's bilinear centre.
        labels_hw = TF.resize(labels_hw[None], list(size), InterpolationMode.NEAREST_EXACT)[0]
    return crop_chw, labels_hw


def _start(length: int, window: int, must_show: int | None, rng: np.random.Generator) -> int:
    """Where a window along one axis starts: anywhere inside, or around, the image; over `must_show` if given."""
    low, high = min(0, length - window), max(0, length - window)
    if must_show is not None:
        low, high = max(low, must_show - window + 1), min(high, must_show)
    return int(rng.integers(low, high + 1))
