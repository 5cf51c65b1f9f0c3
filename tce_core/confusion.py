"""Confusion counts (pixels by true class and predicted class) and IoU, for one image or a whole split."""

import math

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
    prediction = prediction.masked_fill(labels == VOID, 0)
    for ids, what, last in ((labels, "label", VOID), (prediction, "prediction", num_classes - 1)):
        # Without this check, an id outside 0..K-1 would silently be counted as another class.
        outside = ids[(ids < 0) | (ids > last)]
        if outside.numel():
            raise ValueError(f"{what} id {int(outside[0])} is outside 0..{num_classes - 1}")
    counts = count_labels(prediction.reshape(1, 1, -1), labels.reshape(1, 1, -1), num_classes)[0]
    return confusion_of_classes(counts)


def count_labels(prediction: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Count the pixels of each (label, predicted class) in each image. Nothing is checked, so a GPU need not wait.

    Args:
        prediction: (B, H, W) integer, class ids 0..K-1.
        labels: (B, H, W) integer, any ids 0..255.
        num_classes: K.

    Returns:
        (B, 256, K) int64 on the device of `labels`. A row for every id that a label can have: see
        `confusion_of_classes`.
    """
    images, _, width = labels.shape
    bins = 256 * num_classes
    index = labels.to(torch.int32, copy=True).mul_(num_classes).add_(prediction)
    if not index.is_cuda:
        index += bins * torch.arange(images, dtype=torch.int32).view(images, 1, 1)
        return torch.bincount(index.flatten(), minlength=images * bins).view(images, 256, num_classes)
    # On a GPU, bincount waits for the largest index. Neighbours mostly have the same class; in columns of their own
    # they do not wait for each other.
    columns = math.gcd(width, 8)
    index = index.view(images, -1, columns).long()
    one = torch.ones((), dtype=torch.int32, device=index.device).expand(index.shape)
    counts = one.new_zeros(images, bins, columns).scatter_add_(1, index, one)
    return counts.sum(2).view(images, 256, num_classes)


def confusion_of_classes(counts: Tensor) -> Tensor:
    """Check that every label is a class or `VOID`, and return the counts of the classes.

    Args:
        counts: (256, K) int64, see `count_labels`. The counts of images or workers can be added before.

    Returns:
        (K, K) int64, the confusion matrix.

    Raises:
        ValueError: a label is neither a class nor `VOID`.
    """
    num_classes = counts.shape[1]
    bad = counts[num_classes:VOID].sum(1).nonzero()
    if bad.numel():
        raise ValueError(f"label id {num_classes + int(bad[0])} is outside 0..{num_classes - 1}")
    return counts[:num_classes].clone()


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
