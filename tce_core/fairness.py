"""Fairness measures from the IoU of each class (arXiv 2103.14051, Tables 1-3).

IoUs can be fractions or percentages; results have the same unit. NaN marks an absent class, which is in neither the
truth nor the prediction. Absent classes are left out; they never count as 0.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats


@dataclass(frozen=True)
class FairnessReport:
    """How well, and how evenly, the classes are segmented (arXiv 2103.14051, Tables 1-3).

    `gini` and `jain` have no unit; the other measures have the unit of the IoUs.
    """

    miou: float
    """Mean IoU of the classes."""
    worst_iou: float
    """Lowest IoU of the classes."""
    worst_class: int
    """Index of the class that has `worst_iou`; if there are several, the lowest index."""
    std_iou: float
    """Sample standard deviation over the classes (ddof = 1); 0 if there is only one class."""
    sorted_bottom: float
    """Mean IoU of the quarter of the classes that is worst *under the reference*."""
    sorted_top: float
    """Mean IoU of the quarter of the classes that is best *under the reference*."""
    bottom_percentile: tuple[float, float]
    """The 25th percentile of the IoUs, and the mean IoU of the classes at or below it."""
    top_percentile: tuple[float, float]
    """The 75th percentile of the IoUs, and the mean IoU of the classes at or above it."""
    gini: float
    """Gini coefficient: 0 if all classes are equal, (n - 1) / n if only one of n classes is above 0."""
    jain: float
    """Jain's index (sum x)^2 / (n sum x^2): 1 if all classes are equal, 1 / n if only one class is above 0."""

    def as_dict(self) -> dict[str, float]:
        """Return the report as plain floats; the second of a percentile pair has the key `..._percentile_mean`."""
        flat: dict[str, float] = {}
        for name, value in asdict(self).items():
            if isinstance(value, tuple):
                flat[name], flat[f"{name}_mean"] = value
            else:
                flat[name] = float(value)
        return flat


class ClassRow(NamedTuple):
    """One row of the paper's Tables 1 and 2."""

    name: str
    reference: float
    iou: float
    difference: float
    """`iou - reference`; positive is a gain, NaN if either is absent."""


def fairness_report(iou: npt.ArrayLike, reference_iou: npt.ArrayLike | None = None) -> FairnessReport:
    """Summarise the IoUs of one model.

    Args:
        iou: (K,) float, not negative, NaN for an absent class.
        reference_iou: (K,) float, the IoUs whose order decides which classes are the bottom and the top quarter
            (in the paper, those of plain cross-entropy). Default: `iou` itself.

    Returns:
        The report. A quarter of n classes is ceil(n / 4) of them: 5 of 19, as in the paper. As many classes lie at
        or beyond NumPy's linear 25th (or 75th) percentile if all IoUs differ.

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
    """List the classes from worst to best under the reference (Tables 1 and 2); classes without a reference are last.

    Args:
        iou: (K,) float, NaN for an absent class.
        reference_iou: (K,) float, NaN for an absent class.
        class_names: K names.

    Raises:
        ValueError: `fairness_report` would refuse an argument, or the number of names is not K.
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
    """Format `class_rows` as a Markdown table with aligned columns. A dash marks an absent class.

    Args:
        iou: see `class_rows`.
        reference_iou: see `class_rows`.
        class_names: see `class_rows`.
        reference_name: heading of the reference column.
        name: heading of the column of `iou`.
        decimals: number of decimals.

    Raises:
        ValueError: see `class_rows`.
    """

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
    """Return the mean absolute difference of all pairs / (2 * mean), computed from sorted values in O(n log n)."""
    total, n = x.sum(), x.size
    if total == 0:
        return 0.0  # all equal
    rank = 2 * np.arange(1, n + 1) - n - 1
    return max(0.0, float(rank @ np.sort(x) / (n * total)))  # rounding could make it negative


def _jain(x: Floats) -> float:
    if x.max() == 0:
        return 1.0  # all equal
    share = x / x.max()  # the squares of tiny IoUs would underflow
    return float(share.sum() ** 2 / (x.size * (share @ share)))
