"""Measures of class IoUs, for many sets of IoUs at once. `fairness.py` defines them; here they are fast."""

from collections.abc import Callable, Sequence

import numpy as np

from tce_core.iou import Floats

OfIoU = Callable[[Floats], Floats]
"""Takes IoUs (..., K), NaN for an absent class; returns one number (...) for each set. Each set has a present class."""


def miou(iou: Floats) -> Floats:
    """Return the mean over the classes."""
    return np.asarray(np.nanmean(iou, axis=-1))


def worst_iou(iou: Floats) -> Floats:
    """Return the lowest IoU."""
    return np.asarray(np.nanmin(iou, axis=-1))


def std_iou(iou: Floats) -> Floats:
    """Return the sample standard deviation over the classes; 0 for a single class."""
    present = np.count_nonzero(~np.isnan(iou), axis=-1)
    squares = np.nansum((iou - np.nanmean(iou, axis=-1, keepdims=True)) ** 2, axis=-1)
    return np.asarray(np.sqrt(squares / np.maximum(present - 1, 1)))


def worst_quarter(iou: Floats) -> Floats:
    """Return the mean of the ceil(n / 4) lowest of n IoUs."""
    quarter = np.ceil(np.count_nonzero(~np.isnan(iou), axis=-1) / 4).astype(int)
    sums = np.nan_to_num(np.sort(iou, axis=-1)).cumsum(axis=-1)  # NaN are last
    return np.asarray(np.take_along_axis(sums, quarter[..., None] - 1, axis=-1)[..., 0] / quarter)


def mean_of(classes: Sequence[int]) -> OfIoU:
    """Return the measure that is the mean IoU of some classes, such as the worst ones of the reference."""
    chosen = list(classes)
    return lambda iou: np.asarray(np.nanmean(iou[..., chosen], axis=-1))


def percentile(share: float) -> OfIoU:
    """Return the measure that is NumPy's linear percentile of the IoUs."""
    return lambda iou: np.asarray(np.nanpercentile(iou, share, axis=-1))


def mean_beyond(share: float) -> OfIoU:
    """Return the measure that is the mean of the IoUs at or below a percentile; from 50 on, at or above it."""

    def measure(iou: Floats) -> Floats:
        edge = np.nanpercentile(iou, share, axis=-1, keepdims=True)
        beyond = iou <= edge if share < 50 else iou >= edge
        return np.asarray(np.where(beyond, iou, 0).sum(axis=-1) / beyond.sum(axis=-1))

    return measure
