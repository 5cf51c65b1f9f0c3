"""How often and in what regions each class occurs in a split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tce_core import VOID
from tce_core.diagnosis.regions import Ints, regions_of
from tce_core.iou import Floats

SMALL_REGION = 16 * 16
"""A region of fewer pixels is small: it is less than one cell of the encoder's features at output stride 16."""
BORDER = 0.05
"""The border of an image is this share of its height above and below, and of its width left and right."""


class MaskStatistics(NamedTuple):
    """What is kept of a mask. The region sizes are unique, because a noisy mask can have a million regions."""

    classes: Ints
    """(U,) the class of each different (class, size) of a region."""
    sizes: Ints
    """(U,) its size in pixels."""
    numbers: Ints
    """(U,) how many regions of this class have this size."""
    border: Ints
    """(255,) pixels of each label id at the border."""


@dataclass(frozen=True)
class Occurrence:
    """What the masks of a split show, for each of its K classes."""

    total: int
    """Images of the split."""
    images: Ints
    """(K,) images that show the class."""
    pixels: Ints
    """(K,) pixels."""
    share: Floats
    """(K,) share of the valid pixels; NaN if the split has none."""
    regions: Ints
    """(K,) regions, see `regions.py`."""
    median_size: Floats
    """(K,) median size of its regions in pixels; NaN without one, as the next three."""
    half_size: Floats
    """(K,) half of its pixels are in regions of at least this many pixels. Specks hardly change it."""
    small_share: Floats
    """(K,) share of its pixels in small regions."""
    border_share: Floats
    """(K,) share of its pixels at the borders of the images."""


def statistics_of(mask: npt.NDArray[np.uint8]) -> MaskStatistics:
    """Compute what is kept of a mask (H, W) uint8, 255 = void."""
    regions = regions_of(mask)
    keys, numbers = np.unique(regions.classes * (mask.size + 1) + regions.sizes, return_counts=True)
    classes, sizes = np.divmod(keys, mask.size + 1)
    height, width = mask.shape
    top, left = round(height * BORDER), round(width * BORDER)
    inner = mask[top : height - top, left : width - left]
    border = np.bincount(mask.ravel(), minlength=256) - np.bincount(inner.ravel(), minlength=256)
    return MaskStatistics(classes, sizes, numbers, border[:VOID])


def occurrence(pixel_counts: Ints, masks: Sequence[MaskStatistics]) -> Occurrence:
    """Add up the masks of a split.

    Args:
        pixel_counts: (N, K) int64, pixels of each class in each mask.
        masks: the statistics of the N masks.
    """
    num_classes = pixel_counts.shape[1]
    pixels = pixel_counts.sum(axis=0)
    classes, sizes, numbers = (np.concatenate(column) for column in list(zip(*masks, strict=True))[:3])
    small = sizes < SMALL_REGION
    in_small = np.bincount(classes[small], weights=(sizes * numbers)[small], minlength=num_classes)
    border = np.sum([mask.border[:num_classes] for mask in masks], axis=0)
    of_class = [classes == k for k in range(num_classes)]
    return Occurrence(
        total=len(pixel_counts),
        images=np.count_nonzero(pixel_counts, axis=0),
        pixels=pixels,
        share=_ratio(pixels, np.full(num_classes, pixels.sum())),
        regions=np.bincount(classes, weights=numbers, minlength=num_classes).astype(np.int64),
        median_size=np.array([_median(sizes[one], numbers[one]) for one in of_class]),
        half_size=np.array([_median(sizes[one], (sizes * numbers)[one]) for one in of_class]),
        small_share=_ratio(in_small, pixels),
        border_share=_ratio(border, pixels),
    )


def _median(values: Ints, numbers: Ints) -> float:
    """Return the median of values that each occur `numbers` times; NaN without one."""
    if not len(values):
        return float("nan")
    order = np.argsort(values)
    upto = np.cumsum(numbers[order])
    middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
    return float(values[order][middle].mean())


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> Floats:
    """Divide elementwise; NaN where the whole is 0."""
    above, below = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    ratio: Floats = np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)
    return ratio
