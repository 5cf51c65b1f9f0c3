"""Confusion counts (pixels by true class and predicted class) and IoU, for one image or a whole split."""

import torch
from torch import Tensor

from tce_core import VOID
from tce_core.iou import Floats, iou_from_counts


def confusion_matrix(prediction: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count the valid pixels of each (true class, predicted class).

    Args:
        prediction: (...) integer, class ids 0..K-1. Its values at void pixels are ignored.
        labels: (...) integer, class ids 0..K-1, or `VOID` for pixels that do not count.
        num_classes: K.

    Returns:
        (K, K) int64 on the device of `labels`; rows = truth, columns = prediction. The matrices of images, batches
        or workers can be added.

    Raises:
        ValueError: the shapes differ, a label is neither a class nor `VOID`, or a prediction is not a class.
    """
    if prediction.shape != labels.shape:
        raise ValueError(f"prediction has shape {tuple(prediction.shape)}, labels {tuple(labels.shape)}")
    valid = labels != VOID
    truth, guess = labels[valid].long(), prediction[valid].long()
    # Without this check, an id outside 0..K-1 would silently be counted as another class.
    for ids, what in ((truth, "label"), (guess, "prediction")):
        outside = ids[(ids < 0) | (ids >= num_classes)]
        if outside.numel():
            raise ValueError(f"{what} id {int(outside[0])} is outside 0..{num_classes - 1}")
    return torch.bincount(truth * num_classes + guess, minlength=num_classes**2).view(num_classes, num_classes)


def image_counts(confusion: Tensor) -> Tensor:
    """Return the true positives, false positives and false negatives of each class.

    Args:
        confusion: (..., K, K) int64.

    Returns:
        (..., 3, K) int64, in pixels, in the order tp, fp, fn.
    """
    true_positive = confusion.diagonal(dim1=-2, dim2=-1)
    predicted, actual = confusion.sum(dim=-2), confusion.sum(dim=-1)  # column sums, row sums
    return torch.stack([true_positive, predicted - true_positive, actual - true_positive], dim=-2)


def iou_from_confusion(confusion: Tensor) -> Floats:
    """Compute the intersection over union of each class from a confusion matrix.

    For the official Cityscapes measure, add up the confusion matrices of all images first.

    Args:
        confusion: (..., K, K) int64.

    Returns:
        (..., K) float64 in [0, 1]; NaN for a class in neither the truth nor the prediction.
    """
    return iou_from_counts(image_counts(confusion).cpu().numpy())
