"""`EpochResult`: the result of one epoch of training and its evaluation.

It needs no torch, so a process that only reads results starts fast.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tce_core.evidence.intervals import image_intervals
from tce_core.fairness import FairnessReport, fairness_report
from tce_core.fine_grained import fine_grained
from tce_core.iou import iou_from_counts


@dataclass(frozen=True)
class Scores:
    """How a model does on the validation split with one strength of logit adjustment (see `adjust`)."""

    tau: float
    """The strength; 0 is the plain model."""
    iou: tuple[float, ...]
    """IoU of each class in [0, 1]; NaN for a class in neither the truth nor the prediction."""
    measures: Mapping[str, float] = field(default_factory=dict)
    """What `iou` does not show, by name (see `fine_grained`)."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """95% intervals over the images, by measure (see `image_intervals`)."""

    @cached_property
    def report(self) -> FairnessReport:
        """The fairness measures of `iou`."""
        return fairness_report(self.iou)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values that strict JSON can hold; NaN becomes None."""
        return {
            "tau": self.tau,
            "iou": [_none_if_nan(x) for x in self.iou],
            "measures": {name: _none_if_nan(x) for name, x in self.measures.items()},
            "intervals": {name: list(pair) for name, pair in self.intervals.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Scores":
        """Read the values of `as_dict`."""
        return cls(
            tau=values["tau"],
            iou=tuple(_nan_if_none(x) for x in values["iou"]),
            measures={name: _nan_if_none(x) for name, x in values["measures"].items()},
            intervals={name: (low, high) for name, (low, high) in values["intervals"].items()},
        )


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    It holds plain numbers only, so that it can be sent between processes and stored as JSON.

    Raises:
        ValueError: `curve` does not begin with tau 0, or its taus do not rise.
    """

    epoch: int
    """Number of completed epochs; the first result has 1."""
    train_loss: float | None
    """Mean of the minimised loss over the steps of the epoch; None if nothing was trained."""
    lr: float
    """Learning rate of the last step of the epoch; 0 if nothing was trained."""
    curve: tuple[Scores, ...]
    """The scores of the plain model (tau = 0) and of its logit adjustments, in the order of rising tau."""
    class_weights: tuple[float, ...] | None
    """Probability of each class at the next draw of Algorithm 1; None if no classes are drawn."""
    train_seconds: float
    evaluation_seconds: float
    test: tuple[Scores, ...] | None = None
    """The same curve on the test split; None if it was not evaluated."""

    def __post_init__(self) -> None:
        check_taus([scores.tau for scores in self.curve])

    @property
    def plain(self) -> Scores:
        """The scores of the model as it is."""
        return self.curve[0]

    @property
    def iou(self) -> tuple[float, ...]:
        """`plain.iou`."""
        return self.plain.iou

    @property
    def measures(self) -> Mapping[str, float]:
        """`plain.measures`."""
        return self.plain.measures

    @property
    def intervals(self) -> Mapping[str, tuple[float, float]]:
        """`plain.intervals`."""
        return self.plain.intervals

    @property
    def report(self) -> FairnessReport:
        """`plain.report`."""
        return self.plain.report

    def at(self, tau: float) -> Scores:
        """Return the scores of one strength.

        Raises:
            ValueError: the curve does not have it.
        """
        return _at(self.curve, tau)

    def test_at(self, tau: float) -> Scores | None:
        """Return the scores of one strength on the test split; None if it was not evaluated.

        Raises:
            ValueError: the curve does not have it.
        """
        return None if self.test is None else _at(self.test, tau)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values that strict JSON can hold; NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["curve"] = [scores.as_dict() for scores in self.curve]
        values["test"] = None if self.test is None else [scores.as_dict() for scores in self.test]
        values["class_weights"] = None if self.class_weights is None else list(self.class_weights)
        return values

    def to_json(self) -> str:
        """Return `as_dict` as JSON text."""
        return json.dumps(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> "EpochResult":
        """Read the text of `to_json`."""
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochResult":
        """Read the values of `as_dict`."""
        weights, test = values["class_weights"], values.get("test")
        return cls(
            **{
                **values,
                "curve": tuple(Scores.from_dict(scores) for scores in values["curve"]),
                "class_weights": None if weights is None else tuple(weights),
                "test": None if test is None else tuple(Scores.from_dict(scores) for scores in test),
            }
        )


def _at(curve: Sequence[Scores], tau: float) -> Scores:
    for scores in curve:
        if scores.tau == tau:
            return scores
    known = ", ".join(f"{scores.tau:g}" for scores in curve)
    raise ValueError(f"no scores for tau {tau:g}; there are those for {known}")


def measured_curve(taus: Sequence[float], counts: npt.ArrayLike) -> tuple[Scores, ...]:
    """Compute the scores of each strength from the counts of `evaluate`.

    Args:
        taus: T strengths.
        counts: (T, N, 3, K) int64, (tp, fp, fn) of each image, in pixels.

    Raises:
        ValueError: there is no valid pixel, or the shape is another one.
    """
    pixels = np.asarray(counts)
    return tuple(
        Scores(tau, tuple(iou_from_counts(one.sum(axis=0)).tolist()), fine_grained(one), image_intervals(one))
        for tau, one in zip(taus, pixels, strict=True)
    )


def check_taus(taus: Sequence[float]) -> None:
    """Check that the strengths of a curve begin with 0 and rise.

    Raises:
        ValueError: they do not.
    """
    if not taus or taus[0] != 0 or any(not low < high for low, high in pairwise(taus)):
        raise ValueError(f"taus {tuple(taus)}: they must begin with 0 and rise")


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nan_if_none(value: float | None) -> float:
    return math.nan if value is None else float(value)
