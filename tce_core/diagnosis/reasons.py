"""The likely reasons why a class is bad, in plain words. The constants are the thresholds of docs/diagnose.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tce_core.diagnosis.occurrence import SMALL_REGION, Occurrence
from tce_core.diagnosis.scores import ClassScores

BAD = 2 / 3
"""A class is bad if its IoU is below this share of the mean IoU. The worst class always is."""
FEW_IMAGES = 20
"""Fewer training images than this are too few, or ..."""
FEW_SHARE = 0.02
"""... less than this share of them."""
FEW_EVALUATED = 5
"""The IoU of a class that fewer evaluated images show means little."""
FEW_PIXELS = 0.1
"""A class has few pixels if it has less than this share of what each of K classes would have in equal parts."""
SHIFT = 4
"""A class is rarer in train than in the evaluated split if its share of the pixels is this many times smaller."""
SMALL_SHARE = 0.5
"""A class has only small regions if at least this share of its pixels is in regions below `SMALL_REGION`."""
CONFUSED = 0.25
"""A class is confused with another if at least this share of its pixels is taken for it, or the other way round."""
HARDLY = 0.01
"""A class is hardly ever predicted if its predicted pixels are less than this share of its true ones."""
PREDICTED = 0.1
"""What a class is predicted for counts only if its predicted pixels are at least this share of its true ones."""

NO_REASON = "no single reason seen"


@dataclass(frozen=True)
class Verdict:
    """Why a class is bad, or may become so."""

    label: int
    """The class."""
    reasons: tuple[str, ...]
    """Predicates such as `has few pixels (…)`, the most basic first; empty if no single reason is seen."""

    def sentence(self, class_names: Sequence[str]) -> str:
        name = class_names[self.label]
        if not self.reasons:
            return f"{name}: {NO_REASON}."
        *most, last = self.reasons
        return f"{name} {', '.join(most)}, and {last}." if most else f"{name} {last}."


def verdicts(
    class_names: Sequence[str],
    occurrences: Mapping[str, Occurrence],
    scores: ClassScores | None = None,
    evaluated: str = "val",
) -> list[Verdict]:
    """Name the bad classes, the worst first, and the likely reasons.

    Args:
        class_names: names of the K classes.
        occurrences: what each split shows, by its name; with `train` and the evaluated split.
        scores: of a model on the evaluated split. Without it, the classes are named for which the data are a reason.
        evaluated: name of the evaluated split.
    """
    found = []
    for k in _bad_classes(scores) if scores is not None else range(len(class_names)):
        reasons = _reasons_in_data(occurrences["train"], occurrences[evaluated], k, evaluated)
        reasons += [] if scores is None else _confusions(scores, k, class_names)
        if reasons or scores is not None:
            found.append(Verdict(k, tuple(reasons)))
    return found


def _bad_classes(scores: ClassScores) -> list[int]:
    """The classes without an IoU, and those with a low one, the worst first."""
    absent = np.isnan(scores.iou)
    order = np.argsort(scores.iou, kind="stable")[: np.count_nonzero(~absent)]
    low = [int(k) for k in order if k == order[0] or scores.iou[k] < BAD * scores.miou]
    return [*np.flatnonzero(absent).tolist(), *low]


def _reasons_in_data(train: Occurrence, seen: Occurrence, k: int, evaluated: str) -> list[str]:
    """What the data say of a class: of the train split, and whether the evaluated split (`seen`) can judge it."""
    reasons = []
    images, total = int(train.images[k]), train.total
    even = 1 / len(train.share)
    if not images:
        reasons.append("is absent from train, so no model can learn it")
    else:
        if images < FEW_IMAGES or images < FEW_SHARE * total:
            reasons.append(f"is in too few images ({images} of {total} training images, {percent(images / total)})")
        if train.share[k] < FEW_PIXELS * even:
            reasons.append(f"has few pixels ({percent(train.share[k])} of the training pixels)")
        if train.share[k] * SHIFT <= seen.share[k]:
            shares = f"{percent(train.share[k])} of the pixels against {percent(seen.share[k])}"
            reasons.append(f"is rarer in train than in {evaluated} ({shares})")
        if train.small_share[k] >= SMALL_SHARE:
            share = percent(train.small_share[k])
            reasons.append(f"has only small regions ({share} of its pixels are in regions below {SMALL_REGION} pixels)")
    if not seen.images[k]:
        reasons.append(f"is absent from {evaluated}, so its IoU means nothing there")
    elif seen.images[k] < FEW_EVALUATED:
        reasons.append(f"is in only {seen.images[k]} of {seen.total} {evaluated} images, so its IoU means little")
    return reasons


def _confusions(scores: ClassScores, k: int, class_names: Sequence[str]) -> list[str]:
    reasons = []
    if scores.predicted[k] < HARDLY:
        reasons.append(f"is hardly ever predicted ({percent(scores.predicted[k])} as many pixels as it has)")
    other, share = scores.confused_with(k)
    if share >= CONFUSED:
        reasons.append(f"is confused with {class_names[other]} ({percent(share)} of its pixels are taken for that)")
    other, share = scores.taken_as(k)
    if share >= CONFUSED and scores.predicted[k] >= PREDICTED:
        reasons.append(f"is predicted where {class_names[other]} is ({percent(share)} of the pixels predicted as it)")
    return reasons


def percent(share: float) -> str:
    """Format a share: two digits, such as `34%`, `5.2%` or `0.031%`."""
    if np.isnan(share):
        return "-"
    value = 100 * float(share)
    if value >= 9.95 or value == 0:
        return f"{value:.0f}%"
    return f"{value:.1f}%" if value >= 0.995 else f"{value:.2g}%"
