"""How often each class is the worst, over resamples of images and seeds."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats, iou_from_counts


def worst_class_shares(counts: Sequence[npt.ArrayLike], resamples: int = 10_000, seed: int = 0) -> Floats:
    """Compute how often each class has the lowest IoU if images and seeds are drawn again, with replacement.

    Args:
        counts: for each seed (N, 3, K) int64, (tp, fp, fn) of each image in pixels, on the same images.
        resamples: number of draws, shared out over the seeds.
        seed: seed of these draws.

    Returns:
        (K,) in how many of the draws a class has the lowest IoU; classes that tie all count. An absent class has 0.

    Raises:
        ValueError: there is no seed, or no valid pixel.
    """
    drawn, shares = 0, np.zeros(np.asarray(counts[0]).shape[-1]) if len(counts) else np.zeros(0)
    generator = np.random.default_rng(seed)
    for of_seed, draws in zip(counts, _parts(resamples, len(counts)), strict=True):
        pixels = np.asarray(of_seed)
        n = len(pixels)
        # A resample is a row of weights (how often each image is drawn), so one matrix product adds up the counts.
        weights = generator.multinomial(n, np.full(n, 1 / n), size=draws).astype(np.float64)
        iou = iou_from_counts((weights @ pixels.reshape(n, -1)).reshape(draws, *pixels.shape[1:]))
        iou = iou[~np.isnan(iou).all(axis=1)]
        drawn += len(iou)
        shares += (iou == np.nanmin(iou, axis=1, keepdims=True)).sum(axis=0)
    if not drawn:
        raise ValueError("no valid pixel in any image, or no seed")
    return np.asarray(shares / drawn)


def _parts(total: int, parts: int) -> list[int]:
    return [len(part) for part in np.array_split(np.arange(total), parts)] if parts else []
