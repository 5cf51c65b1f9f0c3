"""IoU of classes from pixel counts. It needs no torch, so a process that only reads results starts fast."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def iou_from_counts(counts: npt.ArrayLike) -> Floats:
    """Compute the intersection over union of each class, tp / (tp + fp + fn).

    Args:
        counts: (..., 3, K) true positives, false positives and false negatives, in pixels.

    Returns:
        (..., K) float64 in [0, 1]; NaN for a class in neither the truth nor the prediction.
    """
    pixels = np.asarray(counts, dtype=np.float64)
    union = pixels.sum(axis=-2)
    iou: Floats = np.divide(pixels[..., 0, :], union, out=np.full_like(union, np.nan), where=union > 0)
    return iou


def of_shown_classes(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return counts in which a class that the truth of no image shows has no pixel, and so no IoU.

    Otherwise one pixel that is falsely predicted as such a class would make it the worst class of one model and not of
    another.

    Args:
        counts: (..., 3, K) true positives, false positives and false negatives of images, in pixels.
    """
    pixels = np.asarray(counts)
    truth = pixels[..., 0, :] + pixels[..., 2, :]
    return np.where(truth.any(axis=tuple(range(truth.ndim - 1))), pixels, 0)
