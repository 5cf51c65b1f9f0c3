"""Choose the strength of a logit adjustment, and measure the choice on images that did not make it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeps.storage.objectives import Objectives
from sweeps.strategy.floors import standings
from sweeps.strategy.points import best_scores
from tce_core.fine_grained import fine_grained
from tce_core.iou import iou_from_counts, of_shown_classes
from tce_core.results import Scores

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CrossFit:
    """What a choice of tau is worth."""

    taus: tuple[float, float]
    """The tau that each half of the images chooses."""
    plain: Scores
    """The plain model on all images."""
    adjusted: Scores
    """Each half of the images with the tau that the other half chose, counted together. Its `tau` is NaN."""


def choose_tau(curve: Sequence[Scores], objectives: Objectives) -> int:
    """Return the index that `best_scores` chooses, with floors relative to the plain model, `curve[0]`."""
    return best_scores(objectives, curve, [standings(objectives, scores, curve[0]) for scores in curve])


def cross_fit(taus: Sequence[float], counts: Counts, objectives: Objectives, seed: int = 0) -> CrossFit | None:
    """Choose on one half of the images, measure on the other, and the other way round.

    The measure of a choice on the images that made it is too good: it is the best of T noisy numbers.

    Args:
        taus: T strengths; the first is 0.
        counts: (T, N, 3, K) int64, (tp, fp, fn) of each image in pixels, see `evaluate`.
        objectives: the leading measure and the floors.
        seed: seed of the split into halves.

    Returns:
        None if fewer than two images have a valid pixel, or if a half does not show the class that leads.
    """
    counts = counts[:, counts[0].any(axis=(1, 2))]
    if counts.shape[1] < 2:
        return None
    found = held_out(taus, counts, halves(counts, seed), objectives)
    if found is None:
        return None
    chosen, held = found
    return CrossFit((chosen[1], chosen[0]), scores_of(0.0, counts[0]), scores_of(np.nan, held))


def held_out(
    taus: Sequence[float], counts: Counts, part_of: npt.NDArray[np.int64], objectives: Objectives
) -> tuple[tuple[float, ...], Counts] | None:
    """Give each part of the images the strength that all other parts choose.

    Args:
        taus: T strengths; the first is 0.
        counts: (T, N, 3, K) int64, see `cross_fit`.
        part_of: (N,), the part of each image, from 0. Different models may have seen the parts.
        objectives: the leading measure and the floors.

    Returns:
        The strength of each part, and the counts (N, 3, K) with these strengths; None if the images outside of a part
        have no valid pixel, or do not show the class that leads.
    """
    parts = range(int(part_of.max()) + 1)
    if not all(counts[0, part_of != part].any() for part in parts):
        return None
    curves = [[scores_of(tau, one[part_of != part]) for tau, one in zip(taus, counts, strict=True)] for part in parts]
    if any(math.isnan(objectives.lead.value(curve[0])) for curve in curves):
        return None
    chosen = np.array([choose_tau(curve, objectives) for curve in curves])
    return tuple(taus[i] for i in chosen), counts[chosen[part_of], np.arange(counts.shape[1])]


def halves(counts: Counts, seed: int = 0) -> npt.NDArray[np.int64]:
    """Split images into halves that share the images of each class, of the rarest first.

    Images are put in the order of their rarest class, and every second one goes to the other half.

    Args:
        counts: (T, N, 3, K) int64, see `cross_fit`.
        seed: seed of the order of equal images.

    Returns:
        (N,), 0 or 1.
    """
    shown = counts[0, :, 0] + counts[0, :, 2] > 0
    rarity = np.where(shown, shown.sum(axis=0), len(shown) + 1)
    mixed = np.random.default_rng(seed).permutation(len(shown))
    order = mixed[np.lexsort((rarity.argmin(axis=1)[mixed], rarity.min(axis=1)[mixed]))]
    half_of = np.zeros(len(shown), np.int64)
    half_of[order[1::2]] = 1
    return half_of


def scores_of(tau: float, counts: Counts) -> Scores:
    """The scores on some images (N, 3, K), without intervals, of the classes that these images show."""
    counts = of_shown_classes(counts)
    return Scores(tau, tuple(iou_from_counts(counts.sum(axis=0)).tolist()), fine_grained(counts))
