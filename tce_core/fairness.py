"""From the IoU of each class to everything the paper's Tables 1-3 report, and how sure one may be of it.

An IoU may be a fraction or a percentage: every figure here comes out in the unit that went in. NaN stands for a
class that is in neither the truth nor the prediction; such a class is left out, it never counts as 0.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tce_core.confusion import Floats, iou_from_counts


@dataclass(frozen=True)
class FairnessReport:
    """How well, and how evenly, the classes are segmented (arXiv 2103.14051, Tables 1-3).

    IoU-valued fields are in the unit of the IoUs; `gini` and `jain` have none.
    """

    miou: float
    worst_iou: float
    worst_class: int
    """Index of the class that has `worst_iou` (the lowest index of several)."""
    std_iou: float
    """Sample standard deviation over the classes (ddof = 1); 0 when there is only one class."""
    sorted_bottom: float
    """Mean IoU of the quarter of the classes that was worst *under the reference*."""
    sorted_top: float
    """Mean IoU of the quarter of the classes that was best under the reference."""
    bottom_percentile: tuple[float, float]
    """The 25th percentile of the IoUs, and the mean IoU of the classes at or below it."""
    top_percentile: tuple[float, float]
    """The 75th percentile of the IoUs, and the mean IoU of the classes at or above it."""
    gini: float
    """Gini coefficient: 0 when all classes are equal, (n - 1) / n when one of n classes has everything."""
    jain: float
    """Jain's index (sum x)^2 / (n sum x^2): 1 when all classes are equal, 1/n when one class has everything."""

    def as_dict(self) -> dict[str, float]:
        """The report as flat, plain floats; the second of a percentile pair is named `..._percentile_mean`."""
        flat: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, tuple):
                flat[name], flat[f"{name}_mean"] = value
            else:
                flat[name] = float(value)
        return flat


class ClassRow(NamedTuple):
    """One line of the paper's Tables 1 and 2."""

    name: str
    reference: float
    iou: float
    difference: float
    """`iou - reference`: positive is a gain; NaN where either is absent."""


def fairness_report(iou: npt.ArrayLike, reference_iou: npt.ArrayLike | None = None) -> FairnessReport:
    """Summarise the IoUs of one model.

    Args:
        iou: (K,) float, not negative, NaN for an absent class.
        reference_iou: (K,) float, the IoUs whose order decides which classes are the bottom and the top quarter
            (the paper: those of plain cross-entropy). Default: `iou` itself.

    A quarter of n classes is ceil(n / 4) of them: 5 of 19, as in the paper, and as many as lie at or beyond
    NumPy's linear percentile when no two are equal.

    Raises:
        ValueError: no class is present, an IoU is negative or infinite, or the shapes differ.
    """
    values = _checked(iou, "iou")
    reference = values if reference_iou is None else _checked(reference_iou, "reference_iou")
    if reference.shape != values.shape:
        raise ValueError(f"iou has shape {values.shape}, reference_iou {reference.shape}")
    both = ~np.isnan(values) & ~np.isnan(reference)
    ordered = values[both][np.argsort(reference[both], kind="stable")]
    if ordered.size == 0:
        raise ValueError("no class is present both in iou and in reference_iou")
    quarter = math.ceil(ordered.size / 4)

    present = values[~np.isnan(values)]
    low, high = np.percentile(present, [25, 75])
    return FairnessReport(
        miou=float(present.mean()),
        worst_iou=float(present.min()),
        worst_class=int(np.nanargmin(values)),
        std_iou=float(present.std(ddof=1)) if present.size > 1 else 0.0,
        sorted_bottom=float(ordered[:quarter].mean()),
        sorted_top=float(ordered[-quarter:].mean()),
        bottom_percentile=(float(low), float(present[present <= low].mean())),
        top_percentile=(float(high), float(present[present >= high].mean())),
        gini=_gini(present),
        jain=_jain(present),
    )


def class_rows(iou: npt.ArrayLike, reference_iou: npt.ArrayLike, class_names: Sequence[str]) -> list[ClassRow]:
    """The classes from worst to best under the reference, those without a reference last (Tables 1 and 2).

    Args:
        iou, reference_iou: (K,) float, NaN for an absent class.
        class_names: K names.

    Raises:
        ValueError: as `fairness_report`, or the number of names is not K.
    """
    values, reference = _checked(iou, "iou"), _checked(reference_iou, "reference_iou")
    if not values.size == reference.size == len(class_names):
        raise ValueError(f"{values.size} IoUs, {reference.size} reference IoUs, {len(class_names)} class names")
    order = np.argsort(reference, kind="stable")
    return [
        ClassRow(class_names[k], float(reference[k]), float(values[k]), float(values[k] - reference[k])) for k in order
    ]


def class_table(
    iou: npt.ArrayLike,
    reference_iou: npt.ArrayLike,
    class_names: Sequence[str],
    reference_name: str = "reference",
    name: str = "IoU",
    decimals: int = 4,
) -> str:
    """`class_rows` as a Markdown table, aligned so that it also reads well in a terminal; absent is a dash."""

    def figure(value: float, sign: str = "") -> str:
        return "-" if math.isnan(value) else f"{value:{sign}.{decimals}f}"

    rows = [
        (row.name, figure(row.reference), figure(row.iou), figure(row.difference, "+"))
        for row in class_rows(iou, reference_iou, class_names)
    ]
    head = ("class", reference_name, name, "difference")
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    form = f"| {{:<{widths[0]}}} | {{:>{widths[1]}}} | {{:>{widths[2]}}} | {{:>{widths[3]}}} |"
    return "\n".join(form.format(*cells) for cells in (head, ruler, *rows))


def bootstrap_intervals(
    counts: npt.ArrayLike, level: float = 0.95, resamples: int = 200, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals of `miou`, `worst_iou` and `std_iou`, resampling the images.

    They say how far another draw of *images* would move the figures; the luck of the training is not in them.
    Resampling biases a minimum downwards, so the interval of `worst_iou` leans low.

    Args:
        counts: (N, 3, K) int64, (tp, fp, fn) of each image, in pixels.
        level: coverage, in (0, 1).
        resamples: how many times N images are drawn with replacement.

    Raises:
        ValueError: there is no image, no valid pixel in any image, or `counts` is not (N, 3, K).
    """
    iou = _resampled_iou(counts, resamples, seed)
    iou = iou[~np.isnan(iou).all(axis=1)]  # a draw of void images only says nothing
    miou = np.nanmean(iou, axis=1)
    squares = np.nansum((iou - miou[:, None]) ** 2, axis=1)
    present = np.count_nonzero(~np.isnan(iou), axis=1)
    samples = {
        "miou": miou,
        "worst_iou": np.nanmin(iou, axis=1),
        "std_iou": np.sqrt(squares / np.maximum(present - 1, 1)),  # one class alone: 0, as in the report
    }
    ends = {name: _ends(sample, level) for name, sample in samples.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _resampled_iou(counts: npt.ArrayLike, resamples: int, seed: int) -> Floats:
    """(resamples, K) IoUs of as many bootstrap data sets."""
    pixels = np.asarray(counts, dtype=np.float64)  # exact: pixel counts stay far below 2 ** 53
    if pixels.ndim != 3 or pixels.shape[1] != 3:
        raise ValueError(f"counts must be (N, 3, K), not {pixels.shape}")
    if pixels.sum() == 0:
        raise ValueError("no valid pixel in any image")
    n = len(pixels)
    # How often each image was drawn is all that matters, so a resample is a row of weights and not a gather.
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)  # (resamples, N)
    summed = weights.astype(np.float64) @ pixels.reshape(n, -1)
    return iou_from_counts(summed.reshape(resamples, *pixels.shape[1:]))


def _ends(samples: Floats, level: float) -> Floats:
    """(2, ...) the ends of the central interval that holds `level` of the samples, along the first axis."""
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    tail = 50 * (1 - level)
    return np.asarray(np.nanpercentile(samples, [tail, 100 - tail], axis=0))


def _checked(iou: npt.ArrayLike, name: str) -> Floats:
    values = np.asarray(iou, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{name} must be (K,), not {values.shape}")
    if np.isnan(values).all():
        raise ValueError(f"{name} has no class: {'it is empty' if values.size == 0 else 'every class is NaN'}")
    bad = np.flatnonzero(np.isinf(values) | (values < 0))
    if bad.size:
        raise ValueError(f"{name} of class {bad[0]} is {values[bad[0]]}")
    return values


def _gini(x: Floats) -> float:
    """Mean absolute difference of all pairs over twice the mean, in its sorted O(n log n) form."""
    total, n = x.sum(), x.size
    if total == 0:
        return 0.0  # all equal
    rank = 2 * np.arange(1, n + 1) - n - 1
    return max(0.0, float(rank @ np.sort(x) / (n * total)))  # rounding must not make it negative


def _jain(x: Floats) -> float:
    if x.max() == 0:
        return 1.0  # all equal
    share = x / x.max()  # so that squares of tiny IoUs do not underflow
    return float(share.sum() ** 2 / (x.size * (share @ share)))
