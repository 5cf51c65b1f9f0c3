"""Bootstrap intervals of the fairness measures, by resampling the images of a split."""

from typing import cast

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats, iou_from_counts

Interval = tuple[float, float]


def bootstrap_intervals(
    counts: npt.ArrayLike, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> dict[str, Interval]:
    """Compute percentile bootstrap intervals of `miou`, `worst_iou` and `std_iou` by resampling the images.

    An interval shows how much the measure would change with another sample of *images*. It does not include the
    randomness of training. Resampling biases a minimum downwards, so the interval of `worst_iou` is too low.

    Args:
        counts: (N, 3, K) int64, (tp, fp, fn) of each image, in pixels.
        level: coverage, in (0, 1).
        resamples: how many times N images are drawn with replacement.
        seed: seed of these draws.

    Returns:
        The lower and upper end of the interval, by measure.

    Raises:
        ValueError: `counts` is not (N, 3, K) or has no valid pixel, or `level` is outside (0, 1).
    """
    pixels = np.asarray(counts)
    if pixels.ndim != 3 or pixels.shape[1] != 3:
        raise ValueError(f"counts must be (N, 3, K), not {pixels.shape}")
    return shared_intervals(pixels[None], level, resamples, seed)[0]


def shared_intervals(
    counts: npt.ArrayLike, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> list[dict[str, Interval]]:
    """Compute `bootstrap_intervals` of several predictions for the same images. All of them use the same resamples.

    Args:
        counts: (T, N, 3, K) int64, in pixels.
        level: see `bootstrap_intervals`.
        resamples: see `bootstrap_intervals`.
        seed: see `bootstrap_intervals`.

    Returns:
        The intervals of each of the T predictions.

    Raises:
        ValueError: `counts` is not (T, N, 3, K), one of them has no valid pixel, or `level` is outside (0, 1).
    """
    pixels = np.asarray(counts)
    if pixels.ndim != 4 or pixels.shape[2] != 3:
        raise ValueError(f"counts must be (T, N, 3, K), not {pixels.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if not pixels.any(axis=(1, 2, 3)).all():
        raise ValueError("no valid pixel in any image")
    return [_intervals(iou, level) for iou in _resampled_iou(pixels, resamples, seed)]


def _resampled_iou(pixels: npt.NDArray[np.int64], resamples: int, seed: int) -> Floats:
    """Return the IoU of each class in each bootstrap resample, (T, resamples, K)."""
    taus, n, _, classes = pixels.shape
    # A resample is a row of weights (how often each image is drawn), so one matrix product adds up the counts.
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)  # (resamples, N)
    by_image = pixels.astype(np.float64).transpose(1, 0, 2, 3).reshape(n, -1)  # exact: counts stay far below 2 ** 53
    summed = (weights.astype(np.float64) @ by_image).reshape(resamples, taus, 3, classes)
    return iou_from_counts(summed.transpose(1, 0, 2, 3))


def _intervals(iou: Floats, level: float) -> dict[str, Interval]:
    """Return the central interval of each measure that holds `level` of the resamples; `iou` is (resamples, K)."""
    iou = iou[~np.isnan(iou).all(axis=1)]  # a resample of void images only has no IoU
    miou = np.nanmean(iou, axis=1)
    squares = np.nansum((iou - miou[:, None]) ** 2, axis=1)
    present = np.count_nonzero(~np.isnan(iou), axis=1)
    samples = {
        "miou": miou,
        "worst_iou": np.nanmin(iou, axis=1),
        "std_iou": np.sqrt(squares / np.maximum(present - 1, 1)),  # 0 for a single class, as in the report
    }
    tail = 50 * (1 - level)
    ends = np.percentile(list(samples.values()), [tail, 100 - tail], axis=1)  # (2, measures)
    return {name: cast(Interval, tuple(pair)) for name, pair in zip(samples, ends.T.tolist(), strict=True)}
