"""The dimensions of a search space: a `Range` of numbers or `Choices` among values."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

Scalar = str | int | float | bool | None
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Dimension(BaseModel):
    model_config = STRICT

    when: dict[str, Scalar | list[Scalar]] = {}
    """The value, or a list of values, that each named earlier choice must have. Otherwise the fixed value is used."""
    unless: dict[str, Scalar | list[Scalar]] = {}
    """The value, or a list of values, of an earlier choice at which this setting changes nothing. At these, too, the
    fixed value is used; where the earlier choice itself is not made, this sets no condition."""

    def active(self, params: Mapping[str, Scalar]) -> bool:
        """Return whether this dimension is searched, given the values of the dimensions before it."""
        met = all(key in params and params[key] in as_list(wanted) for key, wanted in self.when.items())
        return met and not any(key in params and params[key] in as_list(idle) for key, idle in self.unless.items())


class Range(_Dimension):
    """A number from `low` to `high`, on a log scale if `log` is true."""

    low: float
    high: float
    log: bool = False
    points: Annotated[int, Field(ge=2)] = 4
    """Number of evenly spaced values that the grid sampler tries."""

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range needs low > 0, not {self.low:g}")
        return self

    @property
    def probes(self) -> list[Scalar]:
        """Values that the setting must accept: both ends and a fraction, which a whole-number setting refuses."""
        return [self.low, self.high, self.low + (self.high - self.low) / math.pi]

    def grid(self) -> list[Scalar]:
        """Return `points` values, evenly spaced on the range's scale: exact ends, others to 6 digits."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        positions = [low + (high - low) * i / (self.points - 1) for i in range(self.points)]
        inner = [float(f"{math.exp(x) if self.log else x:.6g}") for x in positions[1:-1]]
        return [self.low, *inner, self.high]


class Choices(_Dimension):
    """One of several values."""

    choices: Annotated[list[Scalar], Field(min_length=1)]

    @property
    def probes(self) -> list[Scalar]:
        """Values that the setting must accept."""
        return self.choices

    def grid(self) -> list[Scalar]:
        """Return all values."""
        return self.choices


def _kind(value: object) -> str:
    return "Choices" if isinstance(value, Choices) or (isinstance(value, dict) and "choices" in value) else "Range"


KINDS: dict[Any, type[BaseModel]] = {"Range": Range, "Choices": Choices}
Dimension = Annotated[Annotated[Range, Tag("Range")] | Annotated[Choices, Tag("Choices")], Discriminator(_kind)]


def as_list(value: Scalar | list[Scalar]) -> list[Scalar]:
    """Return a list as it is, and a single value as a list of one."""
    return value if isinstance(value, list) else [value]
