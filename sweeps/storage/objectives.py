"""The measures that can lead a sweep, and the pair that it optimises."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # a command line needs the names alone, and no numpy
    from tce_core.fairness import FairnessReport

Objective = Literal["worst_iou", "miou", "std_iou", "bottom25_iou"]


@dataclass(frozen=True)
class Measure:
    """One number that a `FairnessReport` yields."""

    name: str
    title: str
    maximize: bool
    field: str
    """Name of the field of `FairnessReport`."""

    def value(self, report: "FairnessReport") -> float:
        return float(getattr(report, self.field))


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("worst_iou", "worst-class IoU", True, "worst_iou"),
        Measure("miou", "mIoU", True, "miou"),
        Measure("std_iou", "std of class IoUs", False, "std_iou"),
        Measure("bottom25_iou", "mean IoU of the worst 25% of classes", True, "sorted_bottom"),
    )
}


@dataclass(frozen=True)
class Objectives:
    """mIoU and one measure of fairness: a sweep always optimises both.

    The leading measure picks the recommended trial. The other one, the guard, must not fall far below the baseline.
    """

    objective: Objective
    """Name of the leading measure."""
    allowance: float
    """How far the guard may fall below the reference baseline, in IoU (0 to 1)."""

    @property
    def lead(self) -> Measure:
        return MEASURES[self.objective]

    @property
    def fairness(self) -> Measure:
        return self.lead if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def guard(self) -> Measure:
        return MEASURES["miou"] if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def pair(self) -> tuple[Measure, Measure]:
        """mIoU and the fairness measure, in the order of Optuna's two values."""
        return MEASURES["miou"], self.fairness

    @property
    def maximize(self) -> tuple[bool, bool]:
        return self.pair[0].maximize, self.pair[1].maximize

    def values(self, report: "FairnessReport") -> tuple[float, float]:
        """The values of `pair`."""
        return self.pair[0].value(report), self.pair[1].value(report)

    @property
    def early_pair(self) -> tuple[Measure, Measure]:
        """The measures that compare trials at a rung. The first one decides between equal trials.

        The mean of the worst quarter of the classes replaces the worst class: early in a training the worst class has
        IoU 0 in most trials and tells nothing, but the worst quarter already differs.
        """
        lead, guard = (MEASURES["bottom25_iou"] if m.name == "worst_iou" else m for m in (self.lead, self.guard))
        return lead, guard
