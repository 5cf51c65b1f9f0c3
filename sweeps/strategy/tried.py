"""The configurations that a sweep has tried, so that none is proposed twice."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.distributions import CategoricalDistribution, FloatDistribution

CLOSE = 0.005
"""Two configurations count as the same if they differ by less than this share of the range in every dimension."""

Group = tuple[tuple[str, Any], ...]
"""The active dimensions in order, each with its choice, or None for a range."""


class Tried:
    """Tried configurations as points of the unit cube, in one array for each combination of choices."""

    def __init__(self, distributions: Mapping[str, FloatDistribution | CategoricalDistribution]) -> None:
        self.distributions = distributions
        self.count = 0
        self._points: dict[Group, npt.NDArray[np.float64]] = {}

    def add(self, params: Mapping[str, Any]) -> None:
        """Note a configuration."""
        group, point = self._place(params)
        earlier = self._points.get(group, np.empty((0, len(point))))
        self._points[group] = np.vstack([earlier, point])
        self.count += 1

    def distance(self, params: Mapping[str, Any]) -> float:
        """Return the smallest distance to a tried configuration, in the largest coordinate of the unit cube.

        Configurations with different choices are infinitely far apart.
        """
        group, point = self._place(params)
        if group not in self._points:
            return math.inf
        return float(np.abs(self._points[group] - point).max(axis=1, initial=0.0).min())

    def _place(self, params: Mapping[str, Any]) -> tuple[Group, list[float]]:
        group, point = [], []
        for name, distribution in self.distributions.items():
            if name not in params:
                continue
            if isinstance(distribution, FloatDistribution):
                group.append((name, None))
                point.append(position(distribution, params[name]))
            else:
                group.append((name, params[name]))
        return tuple(group), point


def position(distribution: FloatDistribution, value: float) -> float:
    """Return where a value lies in its range, 0 (low) to 1 (high), on the scale of the range."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
