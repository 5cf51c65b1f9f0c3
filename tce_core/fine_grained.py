"""Measures from the pixel counts of single images: what the IoUs of the classes over a whole split do not show.

The measures by image and by class are those of Wang et al., "Revisiting Evaluation Metrics for Semantic
Segmentation", NeurIPS 2023, arXiv 2310.19252. A class belongs to an image if the *truth* of the image has it; images
without a valid pixel are left out. (The paper's code treats data sets of two classes in another way: it measures the
second class alone. Here they are like all others.)
"""

import math

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats, iou_from_counts

WORST_IMAGES = 0.05
"""Share of the images that `miou_image_worst5` and `miou_class_worst5` average: q = 5% of arXiv 2310.19252."""

WORST_CLASSES = 0.3
"""Share of the classes that `cvar_iou` averages."""


def fine_grained(counts: npt.ArrayLike) -> dict[str, float]:
    """Compute the fine-grained measures of one model on a split. All are in [0, 1], and more is better.

    - `worst_recall`: the lowest tp / (tp + fn) over the classes in the truth.
    - `worst_precision`: the lowest tp / (tp + fp) over the classes in the truth or the prediction; 0 for a class that
      is never predicted.
    - `miou_image` (mIoU^I): the mean over images of the mean IoU of the image's classes.
    - `miou_class` (mIoU^C): the mean over classes of the mean IoU over the images that have the class.
    - `miou_image_worst5`, `miou_class_worst5` (mIoU^{I^5}, mIoU^{C^5}): the same over the worst 5% of the images, for
      `miou_class_worst5` of the images of each class. 5% of n images are max(1, floor(n / 20)) of them.
    - `cvar_iou`: the mean of the worst 30% of the IoUs over the split, conditional value at risk. 30% of n classes
      are 0.3 n of them; the last one counts with the fraction.

    Args:
        counts: (N, 3, K) int64, (tp, fp, fn) of each image, in pixels.

    Raises:
        ValueError: `counts` is not (N, 3, K) or has no valid pixel.
    """
    pixels = np.asarray(counts, dtype=np.int64)
    if pixels.ndim != 3 or pixels.shape[1] != 3:
        raise ValueError(f"counts must be (N, 3, K), not {pixels.shape}")
    if not pixels.any():
        raise ValueError("no valid pixel in any image")
    whole = pixels.sum(axis=0)
    tp, fp, fn = whole.astype(np.float64)
    iou = np.where(pixels[:, 0] + pixels[:, 2] > 0, iou_from_counts(pixels), np.nan)  # (N, K)
    iou = iou[~np.isnan(iou).all(axis=1)]
    by_class = iou[:, ~np.isnan(iou).all(axis=0)]
    by_image = np.nanmean(iou, axis=1)
    measures = {
        "worst_recall": (tp / np.maximum(tp + fn, 1))[tp + fn > 0].min(),
        "worst_precision": (tp / np.maximum(tp + fp, 1))[tp + fp + fn > 0].min(),
        "miou_image": by_image.mean(),
        "miou_image_worst5": _worst_means(by_image[:, None]).mean(),
        "miou_class": np.nanmean(by_class, axis=0).mean(),
        "miou_class_worst5": _worst_means(by_class).mean(),
        "cvar_iou": cvar(iou_from_counts(whole), WORST_CLASSES),
    }
    return {name: float(value) for name, value in measures.items()}


def cvar(values: npt.ArrayLike, share: float) -> float:
    """Return the mean of the lowest `share` of the values, in which the last one counts with a fraction.

    Args:
        values: (n,) float; NaN are left out.
        share: above 0, at most 1.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    ordered = ordered[~np.isnan(ordered)]
    size = share * ordered.size
    weights = np.clip(size - np.arange(ordered.size), 0, 1)  # 1, ..., 1, the fraction, 0, ...
    return float(weights @ ordered / size)


def _worst_means(iou: Floats) -> Floats:
    """Return the mean over the worst images in each column of (N, K); NaN marks an image that is not in a column."""
    present = np.count_nonzero(~np.isnan(iou), axis=0)
    sizes = [max(1, math.floor(n * WORST_IMAGES + 1e-9)) for n in present.tolist()]
    sums = np.nan_to_num(np.sort(iou, axis=0)).cumsum(axis=0)  # NaN are last
    means: Floats = np.array([sums[size - 1, k] / size for k, size in enumerate(sizes)])
    return means
