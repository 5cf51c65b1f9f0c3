"""Confusion counts: which class was taken for which, in pixels, for one image or for a whole split."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tce_core import VOID

Floats = npt.NDArray[np.float64]


def confusion_matrix(prediction: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count the valid pixels of each (true class, predicted class).

    Args:
        prediction: (...) integer, class ids 0..K-1; what it says on void pixels does not matter.
        labels: (...) integer, class ids 0..K-1, or `VOID` for pixels that do not count.
        num_classes: K.

    Returns:
        (K, K) int64 on the device of `labels`; rows = truth, columns = prediction. Confusions add up: over images,
        over batches and over workers.

    Raises:
        ValueError: a label that is neither a class nor `VOID`, a prediction that is no class, or shapes that differ.
    """
    if prediction.shape != labels.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, labels {tuple(labels.shape)}")
    valid = labels != VOID
    truth, guess = labels[valid].long(), prediction[valid].long()
    # Checked, because an id beyond K would be counted silently in another class's row.
    for ids, what in ((truth, "label"), (guess, "prediction")):
        outside = ids[(ids < 0) | (ids >= num_classes)]
        if outside.numel():
            raise ValueError(f"{what} id {int(outside[0])} is outside 0..{num_classes - 1}")
    return torch.bincount(truth * num_classes + guess, minlength=num_classes**2).view(num_classes, num_classes)


def image_counts(confusion: Tensor) -> Tensor:
    """(..., K, K) int64 confusion to (..., 3, K) int64: true positives, false positives, false negatives, in pixels."""
    true_positive = confusion.diagonal(dim1=-2, dim2=-1)
    predicted, actual = confusion.sum(dim=-2), confusion.sum(dim=-1)  # column sums, row sums
    return torch.stack([true_positive, predicted - true_positive, actual - true_positive], dim=-2)


def iou_from_counts(counts: npt.ArrayLike) -> Floats:
    """Intersection over union, tp / (tp + fp + fn), of each class.

    (..., 3, K) true positives, false positives and false negatives, in pixels, to (..., K) float64 in [0, 1]; NaN
    for a class in neither the truth nor the prediction.
    """
    pixels = np.asarray(counts, dtype=np.float64)
    union = pixels.sum(axis=-2)
    iou: Floats = np.divide(pixels[..., 0, :], union, out=np.full_like(union, np.nan), where=union > 0)
    return iou


def iou_from_confusion(confusion: Tensor) -> Floats:
    """(..., K, K) int64 confusion to (..., K) float64 IoU in [0, 1], NaN for a class in neither truth nor prediction.

    This is the official Cityscapes measure when the confusion is summed over the split before, not after.
    """
    return iou_from_counts(image_counts(confusion).cpu().numpy())
