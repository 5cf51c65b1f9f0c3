"""How well a model finds each class, and what it confuses it with."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tce_core.evidence.intervals import estimate_classes
from tce_core.evidence.jackknife import Jackknife
from tce_core.iou import Floats, iou_from_counts


@dataclass(frozen=True)
class ClassScores:
    """Of K classes on N images. A class that the truth lacks has no IoU and no recall: NaN."""

    images: npt.NDArray[np.int64]
    """(K,) images whose truth shows the class."""
    iou: Floats
    """(K,) intersection over union over all images."""
    interval: Floats
    """(2, K) 95% interval of the IoU over the images; NaN with a single image."""
    recall: Floats
    """(K,) share of its pixels that are found."""
    precision: Floats
    """(K,) share of the pixels predicted as it that are right; NaN if it is never predicted."""
    predicted: Floats
    """(K,) pixels that are predicted as it, right or wrong, as a multiple of its true ones; NaN without true ones."""
    taken_for: Floats
    """(K, K) share of the pixels of the row's class that are predicted as the column's; the diagonal is the recall."""
    taken: Floats
    """(K, K) share of the pixels predicted as the column's class that are of the row's; the diagonal is the precision.
    """

    @property
    def miou(self) -> float:
        return float(np.nanmean(self.iou))

    def confused_with(self, k: int) -> tuple[int, float]:
        """Return the class that most pixels of class k are wrongly taken for, and their share; 0.0 if none is."""
        return _largest_other(self.taken_for[k], k)

    def taken_as(self, k: int) -> tuple[int, float]:
        """Return the class that most pixels wrongly predicted as k are of, and their share; 0.0 if none is."""
        return _largest_other(self.taken[:, k], k)


def class_scores(confusion: npt.ArrayLike, counts: npt.ArrayLike) -> ClassScores:
    """Compute the scores of the classes.

    Args:
        confusion: (K, K) int64 pixels, rows = truth, columns = prediction.
        counts: (N, 3, K) int64, true positives, false positives and false negatives of each image.
    """
    matrix, by_image = np.asarray(confusion, np.float64), np.asarray(counts, np.int64)
    truth, predicted = matrix.sum(axis=1), matrix.sum(axis=0)
    taken_for = np.divide(matrix, truth[:, None], out=np.full_like(matrix, np.nan), where=truth[:, None] > 0)
    taken = np.divide(matrix, predicted, out=np.full_like(matrix, np.nan), where=predicted > 0)
    multiple = np.divide(predicted, truth, out=np.full_like(truth, np.nan), where=truth > 0)
    iou = np.where(truth > 0, iou_from_counts(by_image.sum(axis=0)), np.nan)
    interval = np.full((2, len(truth)), np.nan)
    if len(by_image) > 1:
        interval = np.array([(one.low, one.high) for one in estimate_classes([Jackknife.of(by_image)])]).T
    return ClassScores(
        images=np.count_nonzero(by_image[:, 0] + by_image[:, 2], axis=0),
        iou=iou,
        interval=np.where(truth > 0, interval, np.nan),
        recall=taken_for.diagonal().copy(),
        precision=taken.diagonal().copy(),
        predicted=multiple,
        taken_for=taken_for,
        taken=taken,
    )


def _largest_other(shares: Floats, k: int) -> tuple[int, float]:
    others = np.nan_to_num(shares)
    others[k] = 0
    return int(others.argmax()), float(others.max())
