"""`EpochResult`: what one round of evaluation found."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from tce_core.fairness import FairnessReport, fairness_report


@dataclass(frozen=True)
class EpochResult:
    """Plain numbers only, so that it travels between processes and into any store as JSON."""

    epoch: int
    """How many epochs are done; the first result has 1."""
    train_loss: float
    """Mean over the epoch's steps of the loss that was minimised."""
    lr: float
    """Learning rate of the epoch's last step."""
    iou: tuple[float, ...]
    """Validation IoU of each class in [0, 1]; NaN for a class in neither truth nor prediction."""
    intervals: Mapping[str, tuple[float, float]]
    """95% bootstrap intervals over the validation images, by measure."""
    class_weights: tuple[float, ...] | None
    """Algorithm 1's probability of each class at the next draw; None for losses that draw no classes."""
    train_seconds: float
    evaluation_seconds: float

    @cached_property
    def report(self) -> FairnessReport:
        return fairness_report(self.iou)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: NaN becomes None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["iou"] = [None if math.isnan(x) else x for x in self.iou]
        values["intervals"] = {name: list(pair) for name, pair in self.intervals.items()}
        values["class_weights"] = None if self.class_weights is None else list(self.class_weights)
        return values

    def to_json(self) -> str:
        return json.dumps(self.as_dict())

    @classmethod
    def from_json(cls, text: str) -> "EpochResult":
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EpochResult":
        weights = values["class_weights"]
        return cls(
            **{
                **values,
                "iou": tuple(math.nan if x is None else float(x) for x in values["iou"]),
                "intervals": {name: (low, high) for name, (low, high) in values["intervals"].items()},
                "class_weights": None if weights is None else tuple(weights),
            }
        )
