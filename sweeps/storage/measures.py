"""The measures that can lead a sweep or have a floor, by name."""

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tce_core.errors import UserError

if TYPE_CHECKING:  # a command line needs the names alone, and no numpy
    from tce_core.fairness import FairnessReport

CLASS = "iou:"
"""`iou:wall` is the IoU of the class `wall`."""


class Scored(Protocol):
    """What one evaluation found."""

    @property
    def report(self) -> "FairnessReport":
        """The measures of the class IoUs. It raises ValueError if no class has an IoU."""

    @property
    def iou(self) -> Sequence[float]:
        """IoU of each class in [0, 1]; NaN for an absent class."""

    @property
    def measures(self) -> Mapping[str, float]:
        """Measures that need more than the class IoUs, by name."""


@dataclass(frozen=True)
class Measure(ABC):
    """One number that an evaluation yields."""

    name: str
    title: str
    maximize: bool = True

    @abstractmethod
    def value(self, scores: Scored) -> float:
        """Return the number; NaN if this evaluation does not have it."""

    @property
    def label(self) -> str:
        """The name that a person reads: of a class its own name."""
        return self.name


@dataclass(frozen=True)
class ReportMeasure(Measure):
    """A field of the `FairnessReport`."""

    field: str = ""

    def value(self, scores: Scored) -> float:
        return float(getattr(scores.report, self.field))


@dataclass(frozen=True)
class FineMeasure(Measure):
    """A measure that needs more than the class IoUs, such as the IoUs of each image."""

    def value(self, scores: Scored) -> float:
        return float(scores.measures.get(self.name, math.nan))


@dataclass(frozen=True)
class ClassIoU(Measure):
    """The IoU of one class."""

    index: int = 0

    def value(self, scores: Scored) -> float:
        return float(scores.iou[self.index])

    @property
    def label(self) -> str:
        return self.name.removeprefix(CLASS)


@dataclass(frozen=True)
class TiltedIoU(Measure):
    """The tilted mean of the class IoUs, (1/t) log mean e^(t IoU) with t < 0: a smooth stand-in for their minimum.

    It lies at most log(K) / |t| above the minimum, and it ends there for t -> -inf (arXiv 2007.01162). Of
    two models whose worst class has IoU 0, the one with fewer classes near 0 has the higher value.
    """

    t: float = -20.0

    def value(self, scores: Scored) -> float:
        present = [iou for iou in scores.iou if not math.isnan(iou)]
        if not present:
            return math.nan
        worst = min(present)
        mean = math.fsum(math.exp(self.t * (iou - worst)) for iou in present) / len(present)
        return worst + math.log(mean) / self.t


MEASURES = {
    measure.name: measure
    for measure in (
        ReportMeasure("worst_iou", "worst-class IoU", True, "worst_iou"),
        ReportMeasure("miou", "mIoU", True, "miou"),
        ReportMeasure("std_iou", "std of class IoUs", False, "std_iou"),
        ReportMeasure("bottom25_iou", "mean IoU of the worst 25% of classes", True, "sorted_bottom"),
    )
}
"""The measures of class IoUs. Every result has them, and every table shows them."""

FINE_MEASURES = {
    measure.name: measure
    for measure in (
        FineMeasure("worst_recall", "worst-class recall"),
        FineMeasure("worst_precision", "worst-class precision"),
        FineMeasure("miou_image", "mIoU by image"),
        FineMeasure("miou_image_worst5", "mIoU of the worst 5% of images"),
        FineMeasure("miou_class", "mIoU by class and image"),
        FineMeasure("miou_class_worst5", "mIoU of each class in its worst 5% of images"),
        FineMeasure("cvar_iou", "mean IoU of the worst 30% of classes"),
    )
}
"""The measures that need the counts of each image or class."""

NAMED = MEASURES | FINE_MEASURES


def class_measure(classes: Sequence[str], index: int) -> ClassIoU:
    """The IoU of one class of the data set."""
    return ClassIoU(CLASS + classes[index], f"IoU of {classes[index]}", index=index)


def is_objective(name: str) -> bool:
    """Whether a measure has this name, or it is `iou:` and the name of some class."""
    return name in NAMED or (name.startswith(CLASS) and name != CLASS)


def objectives_text() -> str:
    """The names that can lead a sweep, in words."""
    return f"{', '.join(NAMED)} or {CLASS}CLASS"


def measure_named(name: str, classes: Sequence[str]) -> Measure:
    """The measure of a name such as `miou` or `iou:wall`.

    Args:
        name: the measure.
        classes: names of the classes of the data set.

    Raises:
        UserError: there is no such measure or class; the line names the nearest ones and all.
    """
    if name in NAMED:
        return NAMED[name]
    if not is_objective(name):
        raise UserError(f"objective '{name}': it is one of {objectives_text()}")
    wanted = name.removeprefix(CLASS)
    if wanted not in classes:
        raise UserError(f"objective '{name}': no class '{wanted}'{nearest_names(wanted, classes)}")
    return class_measure(classes, list(classes).index(wanted))


def nearest_names(wanted: str, names: Sequence[str]) -> str:
    """End a line about an unknown name with the nearest names and all names."""
    lower = {name.casefold(): name for name in names}
    near = [lower[name] for name in difflib.get_close_matches(wanted.casefold(), lower, n=3)]
    return (f"; nearest: {', '.join(near)}" if near else "") + f"; it is one of {', '.join(names)}"
