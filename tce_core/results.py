"""`EpochResult`: the result of one epoch of training and its evaluation."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from tce_core.fairness import FairnessReport, fairness_report


@dataclass(frozen=True)
class EpochResult:
    """The result of one epoch.

    It holds plain numbers only, so that it can be sent between processes and stored as JSON.
    """

    epoch: int
    """Number of completed epochs; the first result has 1."""
    train_loss: float
    """Mean of the minimised loss over the steps of the epoch."""
    lr: float
    """Learning rate of the last step of the epoch."""
    iou: tuple[float, ...]
    """Validation IoU of each class in [0, 1]; NaN for a class in neither the truth nor the prediction."""
    intervals: Mapping[str, tuple[float, float]]
    """95% bootstrap intervals over the validation images, by measure (see `bootstrap_intervals`)."""
    class_weights: tuple[float, ...] | None
    """Probability of each class at the next draw of Algorithm 1; None if no classes are drawn."""
    train_seconds: float
    evaluation_seconds: float

    @cached_property
    def report(self) -> FairnessReport:
        """The fairness measures of `iou`."""
        return fairness_report(self.iou)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as values that strict JSON can hold; NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["iou"] = [None if math.isnan(x) else x for x in self.iou]
        values["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
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
        weights = values["class_weights"]
        return cls(
            **{
                **values,
                "iou": tuple(math.nan if x is None else float(x) for x in values["iou"]),
                "intervals": {name: (low, high) for name, (low, high) in values["intervals"].items()},
                "class_weights": None if weights is None else tuple(weights),
            }
        )
