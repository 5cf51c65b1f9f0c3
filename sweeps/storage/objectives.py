"""The pair of measures that a sweep optimises, and the floors that its recommended trial keeps."""

from dataclasses import dataclass
from functools import cached_property

from sweeps.storage.measures import CLASS, MEASURES, NAMED, Measure, Scored, TiltedIoU, measure_named

STAND_IN = TiltedIoU("tilted_iou", "tilted mean of class IoUs", t=-20.0)
"""`benchmarks/stand_in.py` compares it with others."""

OTHERS = "others"
"""The name of a floor of every class that does not lead and has no floor of its own."""


@dataclass(frozen=True, repr=False)
class Floor:
    """The lowest acceptable value of a measure; of a measure such as `std_iou`, of which less is better, the highest.

    As text it is what a person writes: `wall=0.3`, `miou=-0.01` (relative).
    """

    name: str
    """A measure such as `miou` or `iou:wall`, or `others`."""
    value: float
    relative: bool
    """Whether `value` is added to the value of the reference baseline."""

    def __repr__(self) -> str:
        short = self.name.removeprefix(CLASS)
        name = self.name if short in NAMED or short == OTHERS or short.startswith(CLASS) else short
        return f"{name}={self.value:+}" if self.relative else f"{name}={self.value}"


@dataclass(frozen=True)
class Objectives:
    """mIoU and one measure of fairness: a sweep always optimises both.

    The leading measure picks the recommended trial. The other one, the guard, must not fall far below the baseline.
    """

    objective: str
    """Name of the leading measure."""
    allowance: float
    """How far the guard may fall below the reference baseline, in IoU (0 to 1)."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the data set."""
    floors: tuple[Floor, ...] = ()
    """Floors that are given beside the allowance."""

    @cached_property
    def lead(self) -> Measure:
        return measure_named(self.objective, self.classes)

    @property
    def fairness(self) -> Measure:
        return self.lead if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def guard(self) -> Measure:
        return MEASURES["miou"] if self.lead.name != "miou" else MEASURES["worst_iou"]

    @property
    def all_floors(self) -> tuple[Floor, ...]:
        """The given floors, and the guard's from the allowance unless the guard has a given floor."""
        if any(floor.name == self.guard.name for floor in self.floors):
            return self.floors
        return Floor(self.guard.name, -self.allowance, relative=True), *self.floors

    @property
    def pair(self) -> tuple[Measure, Measure]:
        """mIoU and the fairness measure, in the order of Optuna's two values."""
        return MEASURES["miou"], self.fairness

    @property
    def maximize(self) -> tuple[bool, bool]:
        return self.pair[0].maximize, self.pair[1].maximize

    def values(self, scores: Scored) -> tuple[float, float]:
        """The values of `pair`."""
        return self.pair[0].value(scores), self.pair[1].value(scores)

    def told(self, scores: Scored) -> tuple[float, float]:
        """What the sampler is told in place of `values`: a smooth stand-in for the worst class's IoU.

        In a short training the worst class has IoU 0 in most trials. A sampler learns nothing from equal numbers.
        """
        first, second = (STAND_IN if measure.name == "worst_iou" else measure for measure in self.pair)
        return first.value(scores), second.value(scores)

    @property
    def early_pair(self) -> tuple[Measure, Measure]:
        """The measures that compare trials at a rung. The first one decides between equal trials.

        The mean of the worst quarter of the classes replaces the worst class: early in a training the worst class has
        IoU 0 in most trials and tells nothing, but the worst quarter already differs.
        """
        lead, guard = (MEASURES["bottom25_iou"] if m.name == "worst_iou" else m for m in (self.lead, self.guard))
        return lead, guard
