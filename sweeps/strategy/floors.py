"""Floors: values below which the recommended trial must not fall, such as `wall=0.3 miou=-0.01 others=-0.02`.

A value with a sign is relative to the reference baseline, a value without a sign is absolute. Where a class has no IoU,
in the trial or in the baseline of a relative floor, there is nothing to compare: such a floor counts as kept.
"""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sweeps.storage.measures import CLASS, NAMED, ClassIoU, Measure, Scored, class_measure, measure_named, nearest_names
from sweeps.storage.objectives import OTHERS, Floor, Objectives
from sweeps.storage.plan import Plan
from tce_core.errors import UserError

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
SHOWN = 3
"""How many trials, and how many floors of each, a line about missed floors names."""


@dataclass(frozen=True)
class Standing:
    """A measure of a trial beside its floor."""

    floor: str
    """Name of the floor: of a class or a measure, or `others`."""
    name: str
    """What is measured: a class or a measure."""
    value: float
    bound: float
    """The lowest acceptable value, or the highest one if less is better."""
    shortfall: float
    """How far the value misses the bound; 0 or less if it keeps it."""

    @property
    def comparable(self) -> bool:
        """Whether there is something to compare: a class can be absent in the trial or in the baseline."""
        return not math.isnan(self.value - self.bound)


def parse_floors(texts: Iterable[str], classes: Sequence[str]) -> tuple[Floor, ...]:
    """Read floors such as `wall=0.3`.

    Args:
        texts: NAME=VALUE. NAME is a class, a measure or `others`; a class whose name is also that of a measure is
            `iou:NAME`.
        classes: names of the classes of the data set.

    Returns:
        The floors, in their order.

    Raises:
        UserError: an unknown name, a value that is not a number from -1 to 1, or the same floor twice.
    """
    floors: list[Floor] = []
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name:
            raise UserError(f"--floor {text}: write NAME=VALUE, such as miou=-0.01")
        if not re.fullmatch(NUMBER, value):
            raise UserError(f"--floor {text}: '{value}' is not a number, such as 0.3, or -0.01 below the baseline")
        if not -1 <= float(value) <= 1:
            raise UserError(f"--floor {text}: {value} is outside -1 to 1; measures are fractions, 0.3 and not 30")
        floor = Floor(_full_name(name, classes, text), float(value), relative=value[0] in "+-")
        if any(floor.name == other.name for other in floors):
            raise UserError(f"--floor {text}: '{name}' has a floor already; give one of them")
        floors.append(floor)
    return tuple(floors)


def _full_name(name: str, classes: Sequence[str], text: str) -> str:
    if name in NAMED or name == OTHERS:
        return name
    plain = name.removeprefix(CLASS)
    if plain not in classes and name in classes:  # a class whose name begins with `iou:`
        plain = name
    if plain not in classes:
        names = [*classes, *NAMED, OTHERS]
        raise UserError(f"--floor {text}: no class or measure '{name}'{nearest_names(plain, names)}")
    return CLASS + plain


def check_classes(objectives: Objectives, pixels: Sequence[int] | npt.NDArray[np.int64]) -> None:
    """Refuse a leading class, or a class with a floor, that no validation image shows: its IoU says nothing.

    Args:
        objectives: the leading measure and the floors.
        pixels: (K,) pixels of each class in the validation split.

    Raises:
        UserError: naming the flag and the class.
    """
    named = {f"--objective {objectives.objective}": objectives.lead}
    named |= {f"--floor {one}": measures_of(one, objectives)[0] for one in objectives.floors if one.name != OTHERS}
    for flag, measure in named.items():
        if isinstance(measure, ClassIoU) and pixels[measure.index] == 0:
            raise UserError(f"{flag}: no image of the val split shows '{measure.label}'; choose another class")


def check_allowance(objectives: Objectives, given: Collection[str]) -> None:
    """Raise UserError if the allowance is among the options that are `given`, and the guard has a floor of its own."""
    if "miou_allowance" in given and objectives.all_floors == objectives.floors:
        raise UserError(f"--miou-allowance and --floor {objectives.guard.name} set the same floor; give one of them")


def check_reference(plan: Plan) -> None:
    """Raise UserError if a floor is relative to a baseline that the space does not have."""
    relative = [floor for floor in plan.floors if floor.relative]
    if relative and not plan.space.get("baselines"):
        raise UserError(
            f"--floor {relative[0]}: relative to the first baseline, but {plan.space_file} has none; give a value "
            "without a sign, or a baseline"
        )


def standings(
    objectives: Objectives, scores: Scored, baseline: Scored | None, beside: Scored | None = None
) -> list[Standing]:
    """Compare an evaluation with all floors, the guard's included.

    Args:
        objectives: the floors.
        scores: the evaluation.
        baseline: the last evaluation of the reference baseline; None: relative floors are left out.
        beside: the baseline's evaluation after as many epochs as `scores` had. It moves each floor by what the
            baseline still gains after that epoch, so that a young trial is not compared with a finished one.

    Returns:
        One entry for each floor, and one for each class of `others`.
    """
    found = []
    for floor in objectives.all_floors:
        if floor.relative and baseline is None:
            continue
        for measure in measures_of(floor, objectives):
            bound = floor.value
            if floor.relative and baseline is not None:
                bound += measure.value(baseline)
            if baseline is not None and beside is not None:
                bound += measure.value(beside) - measure.value(baseline)
            value = measure.value(scores)
            missed = bound - value if measure.maximize else value - bound
            shortfall = 0.0 if math.isnan(missed) else missed
            found.append(Standing(floor.name.removeprefix(CLASS), measure.label, value, bound, shortfall))
    return found


def measures_of(floor: Floor, objectives: Objectives) -> list[Measure]:
    """The measures that a floor is about: one, or for `others` the IoU of each class that it covers."""
    classes = objectives.classes
    own = {objectives.lead.name, *(other.name for other in objectives.floors)}
    if floor.name != OTHERS:
        return [measure_named(floor.name, classes)]
    every = [class_measure(classes, index) for index in range(len(classes))]
    return [measure for measure in every if measure.name not in own]


def averaged(seeds: Sequence[Sequence[Standing]]) -> list[Standing]:
    """The mean standing beside each floor, over seeds that have the same floors. What a seed cannot compare is 0."""
    found = []
    for of_floor in zip(*seeds, strict=True):
        value, bound = (float(np.mean([getattr(one, name) for one in of_floor])) for name in ("value", "bound"))
        shortfall = float(np.mean([one.shortfall if one.comparable else 0.0 for one in of_floor]))
        found.append(replace(of_floor[0], value=value, bound=bound, shortfall=shortfall))
    return found


def largest_shortfalls(found: Iterable[Standing]) -> dict[str, float]:
    """The largest shortfall of each floor, by its name: `others` is one number, however many classes it covers."""
    largest: dict[str, float] = {}
    for one in found:
        largest[one.floor] = max(one.shortfall, largest.get(one.floor, -math.inf))
    return largest


def keeps(found: Iterable[Standing]) -> bool:
    """Whether all floors are kept. A value equal to its floor keeps it."""
    return all(one.shortfall <= 0 for one in found)


def nearest_misses(candidates: Sequence[tuple[str, Sequence[Standing]]], what: str = "trial") -> str:
    """Say in one line that no candidate keeps the floors, and which come nearest.

    The nearest one misses a floor by least: the largest shortfall counts, then the sum of all.

    Args:
        candidates: a label such as "trial 12 (tau 0.25)" and the standings of each candidate.
        what: what a candidate is.
    """

    def distance(candidate: tuple[str, Sequence[Standing]]) -> tuple[float, float]:
        missed = [one.shortfall for one in candidate[1] if one.shortfall > 0]
        return max(missed, default=0.0), sum(missed)

    nearest = sorted(candidates, key=distance)[:SHOWN]
    return f"no {what} keeps the floors; nearest: {'; '.join(f'{label}: {missed(found)}' for label, found in nearest)}"


def missed(found: Iterable[Standing]) -> str:
    """The floors that are missed, the farthest first, such as `wall 0.27 of 0.30`."""
    short = sorted((one for one in found if one.shortfall > 0), key=lambda one: -one.shortfall)
    more = f", and {len(short) - SHOWN} more" if len(short) > SHOWN else ""
    return ", ".join(f"{one.name} {beside_bound(one)}" for one in short[:SHOWN]) + more


def beside_bound(one: Standing) -> str:
    """The value and its floor, such as `0.27 of 0.30`, with as many decimals as tell them apart."""
    for decimals in range(2, 6):
        value, bound = f"{one.value:.{decimals}f}", f"{one.bound:.{decimals}f}"
        if value != bound:
            break
    return f"{value} of {bound}"
