"""Intervals of measures over images and seeds.

A figure is a draw of two kinds: of the images that evaluate a model, and of the seed that trained it. For S seeds and N
images, with the measure m_s of each seed and its value m_s(i) without image i, the variance of the mean over seeds is

    V = var_s(m_s) / S + (N - 1) / N * sum_i (m(i) - mean_j m(j))^2,   m(i) = mean_s m_s(i):

the variance over seeds, and the jackknife's over images (Efron and Tibshirani 1993, ch. 11). Each part has Student's t
with its own degrees of freedom; the half-widths add up as the sides of a right triangle (after Cochran 1964). A class
that few images show leaves few degrees of freedom. An IoU lies in [0, 1], so its interval is symmetric on the logit
scale. Noise makes classes look more different than they are, which raises a standard deviation and lowers the mean of
the worst classes: the interval moves against it. `benchmarks/coverage.py` measures how often the truth is inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import t as student

from tce_core.evidence.jackknife import Jackknife
from tce_core.evidence.measures import OfIoU, miou, std_iou, worst_iou, worst_quarter
from tce_core.iou import Floats

DRAWS = np.random.default_rng(0).standard_normal((128, 256))
"""Noise of up to 256 classes; each row is used with both signs."""
NEAR = 2.0
"""A class may be the worst if its IoU is at most this many standard errors of the difference above the lowest one."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """One source of chance: the variance that it gives a figure, and the degrees of freedom of this variance."""

    variance: float
    freedom: float

    def half_width(self, level: float) -> float:
        return float(student.ppf((1 + level) / 2, self.freedom) * np.sqrt(self.variance))


@dataclass(frozen=True)
class Spread:
    """A figure, and the chance in it."""

    value: float
    images: Part
    seeds: Part = Part(0.0, 1.0)

    @property
    def variance(self) -> float:
        return self.images.variance + self.seeds.variance

    def interval(self, level: float) -> Estimate:
        """Return the interval on the scale of the figure: for differences."""
        half = self._half_width(level)
        return Estimate(self.value, self.value - half, self.value + half)

    def interval_in_unit(self, level: float) -> Estimate:
        """Return the interval on the logit scale: for figures in [0, 1]. At 0 and 1 it is the point itself."""
        if np.isinf(self.variance):
            return Estimate(self.value, 0.0, 1.0)
        if self.variance == 0 or not 0 < self.value < 1:
            return Estimate(self.value, self.value, self.value)
        half = self._half_width(level) / (self.value * (1 - self.value))
        middle = logit(self.value)
        return Estimate(self.value, float(expit(middle - half)), float(expit(middle + half)))

    def _half_width(self, level: float) -> float:
        return float(np.hypot(self.images.half_width(level), self.seeds.half_width(level)))


def spread(values: npt.ArrayLike, left: npt.ArrayLike, freedom: float = np.inf) -> Spread:
    """Compute the spread of a mean over seeds.

    Args:
        values: (S,) the figure of each seed.
        left: (S, N) the figures without each image.
        freedom: an upper bound of the degrees of freedom over images.

    Raises:
        ValueError: the shapes do not fit.
    """
    of_seed, without = np.asarray(values, dtype=np.float64), np.asarray(left, dtype=np.float64)
    if of_seed.ndim != 1 or without.ndim != 2 or len(of_seed) != len(without) or not without.size:
        raise ValueError(f"values must be (S,) and left (S, N), not {of_seed.shape} and {without.shape}")
    number, images = without.shape
    squares = (without.mean(axis=0) - without.mean()) ** 2
    over_images = Part(float(squares.sum()) * (images - 1) / images, min(freedom, _freedom(squares)))
    if images == 1:
        over_images = Part(np.inf, 1.0)  # one image says nothing about others
    over_seeds = Part(float(of_seed.var(ddof=1)) / number, number - 1.0) if number > 1 else Part(0.0, 1.0)
    return Spread(float(of_seed.mean()), over_images, over_seeds)


def _freedom(squares: Floats) -> float:
    """The degrees of freedom of a sum of squares: twice its square over the variance of the sum. At least 1."""
    total, n = float(squares.sum()), len(squares)
    scatter = float((squares**2).sum()) - total**2 / n
    return float(np.clip(2 * total**2 / scatter if scatter > 0 else n - 1, 1, max(1, n - 1)))


def estimate(models: Sequence[Jackknife], measure: OfIoU, level: float = 0.95) -> Estimate:
    """Estimate a measure in [0, 1] of a method; of `worst_iou` use `estimate_worst`.

    Args:
        models: one for each seed, on the same images.
        measure: of the class IoUs.
        level: coverage, in (0, 1). With one model, the interval is over images alone.
    """
    found = spread([float(measure(m.iou)) for m in models], [m.values(measure) for m in models])
    plain, bias = found.interval_in_unit(level), _bias(models, measure)
    # Noise on top of noise: the estimates scatter by sqrt(2) of what they do, so up to 0.6 of the bias stays unseen.
    # The end that lies in its way moves by twice of what is seen.
    low, high = plain.low - bias - max(bias, 0.0), plain.high - bias - min(bias, 0.0)
    return Estimate(found.value, max(0.0, min(low, found.value)), min(1.0, max(high, found.value)))


def _bias(models: Sequence[Jackknife], measure: OfIoU) -> float:
    """What the noise of the class IoUs adds to a measure on average: a bootstrap with independent normal noise."""
    added = []
    for model in models:
        left = np.where(np.isnan(model.left), model.iou, model.left)  # (N, K)
        error = np.sqrt(((left - left.mean(axis=0)) ** 2).sum(axis=0) * (len(left) - 1) / len(left))
        noise = np.resize(DRAWS, (len(DRAWS), len(error))) * error
        added.append(measure(model.iou + np.concatenate([noise, -noise])).mean() - measure(model.iou))
    return float(np.mean(added))


def estimate_classes(models: Sequence[Jackknife], level: float = 0.95) -> list[Estimate]:
    """Estimate the IoU of each class.

    An absent class has NaN. The interval of a class that a single image shows is all of [0, 1].
    """
    return [
        Estimate(found.value, 0.0, 1.0) if alone else found.interval_in_unit(level)
        for found, alone in (_of_class(models, k) for k in range(len(models[0].iou)))
    ]


def estimate_worst(models: Sequence[Jackknife], level: float = 0.95) -> Estimate:
    """Estimate the IoU of the worst class: a minimum of noisy numbers, which is too low on average.

    The lower end is that of the class that is worst here. The mean of the minimum is at most that of every class. So
    the upper end is the lowest upper end of the classes that may be the worst (`NEAR`), each at a level that allows for
    their number (Bonferroni).
    """
    lowest = spread([float(worst_iou(m.iou)) for m in models], [m.values(worst_iou) for m in models])
    classes = [_of_class(models, k)[0] for k in range(len(models[0].iou))]
    present = [one for one in classes if not np.isnan(one.value)]
    worst = min(present, key=lambda one: one.value)
    near = [one for one in present if one.value - worst.value <= NEAR * (one.variance + worst.variance) ** 0.5]
    each = 1 - (1 - level) / len(near)
    surer = Part(lowest.images.variance, min(lowest.images.freedom, worst.images.freedom))
    below = Spread(lowest.value, surer, lowest.seeds).interval_in_unit(level).low
    above = min(one.interval_in_unit(each).high for one in near)
    return Estimate(lowest.value, below, max(above, lowest.value))


def difference(one: Sequence[Jackknife], other: Sequence[Jackknife], measure: OfIoU, level: float = 0.95) -> Estimate:
    """Estimate how much a measure in [0, 1] of one method exceeds that of another, paired over seeds and images.

    Args:
        one: a model for each seed.
        other: a model for each of these seeds, in the same order, on the same images.
        measure: of the class IoUs.
        level: coverage, in (0, 1).
    """
    pairs = list(zip(one, other, strict=True))
    values = [float(measure(a.iou)) - float(measure(b.iou)) for a, b in pairs]
    found = spread(values, [a.values(measure) - b.values(measure) for a, b in pairs]).interval(level)
    return Estimate(found.value, max(-1.0, found.low), min(1.0, found.high))


def _of_class(models: Sequence[Jackknife], k: int) -> tuple[Spread, bool]:
    """The spread of a class's IoU, and whether a single image shows the class."""
    iou = np.array([m.iou[k] for m in models])
    left = np.array([m.left[:, k] for m in models])
    alone = bool(np.isnan(left).any()) and not np.isnan(iou).any()
    weight = np.mean([m.weight[:, k] for m in models], axis=0)
    effective = 1 / max(float((weight**2).sum()), 1 / len(weight)) - 1  # images, less one (Kish 1965)
    return spread(iou, np.where(np.isnan(left), iou[:, None], left), max(1.0, effective)), alone


def image_intervals(counts: npt.ArrayLike, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Compute the intervals of `miou`, `worst_iou`, `std_iou` and `bottom25_iou` of one model over images.

    They show how much a measure would change with another sample of images, not with another seed.

    Args:
        counts: (N, 3, K) int64, (tp, fp, fn) of each image in pixels.
        level: coverage, in (0, 1).

    Returns:
        The lower and upper end of the interval, by measure.

    Raises:
        ValueError: `counts` is not (N, 3, K) or has no valid pixel, or `level` is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    model = [Jackknife.of(counts)]
    smooth = {"miou": miou, "std_iou": std_iou, "bottom25_iou": worst_quarter}
    found = {name: estimate(model, measure, level) for name, measure in smooth.items()}
    found["worst_iou"] = estimate_worst(model, level)
    return {name: (one.low, one.high) for name, one in found.items()}
