"""The measures a sweep can be led by, and the pair that it optimises."""

from dataclasses import dataclass
from typing import Literal

from tce_core.fairness import FairnessReport

Objective = Literal["worst_iou", "miou", "std_iou", "bottom25_iou"]


@dataclass(frozen=True)
class Measure:
    name: str
    title: str
    maximize: bool

    def value(self, report: FairnessReport) -> float:
        return float(getattr(report, {"bottom25_iou": "sorted_bottom"}.get(self.name, self.name)))


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("worst_iou", "worst-class IoU", True),
        Measure("miou", "mIoU", True),
        Measure("std_iou", "std of class IoUs", False),
        Measure("bottom25_iou", "mean IoU of the worst 25% of classes", True),
    )
}


@dataclass(frozen=True)
class Objectives:
    """mIoU and a measure of fairness, always both; `lead` picks the recommended point, the other one guards it."""

    lead: Measure
    allowance: float
    """How far below the reference baseline the guard may fall, in IoU (0 to 1)."""

    @classmethod
    def led_by(cls, objective: Objective, allowance: float) -> "Objectives":
        return cls(MEASURES[objective], allowance)

    @property
    def fairness(self) -> Measure:
        return self.lead if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def guard(self) -> Measure:
        return MEASURES["miou"] if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def pair(self) -> tuple[Measure, Measure]:
        return MEASURES["miou"], self.fairness

    @property
    def maximize(self) -> tuple[bool, bool]:
        return self.pair[0].maximize, self.pair[1].maximize

    def values(self, report: FairnessReport) -> tuple[float, float]:
        return self.pair[0].value(report), self.pair[1].value(report)

    @property
    def early_pair(self) -> tuple[Measure, Measure]:
        """What trials are compared by early on: the leading measure first, which decides between equals.

        In place of the worst class stands the worst quarter of the classes: that one is at 0 in most trials then, and
        so tells nothing, where the few worst ones do already.
        """
        lead, guard = (MEASURES["bottom25_iou"] if m.name == "worst_iou" else m for m in (self.lead, self.guard))
        return lead, guard
