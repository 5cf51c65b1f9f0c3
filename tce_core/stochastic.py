"""Stochastic TCE, Algorithm 1: which class comes next, and what its loss taught us.

The algorithm keeps, for each class c, a running tilted loss L~_c. Line numbers are the paper's:

    draw c with probability w_c, then a mini-batch B from D_c              (lines 4-5)
    L_B <- loss (1) on B                                                   (line 6)
    e^{t L~_c} <- (1 - gamma) e^{t L~_c} + gamma e^{t L_B}                 (line 7)
    w_c <- e^{t L~_c} / sum_k e^{t L~_k}                                   (line 8)

Here l_c = t L~_c is kept instead, so that lines 7 and 8 are `log_ema` and a softmax and no t overflows. The paper
starts from L~ = 0, which the first update turns into probability ~1 for the class it drew, for ever; so every class
is visited once before the weights rule, and early rates are 1/visits, which makes the first estimate a plain mean.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tce_core.tilt import log_ema

State = dict[str, list[float] | list[int]]


class StochasticTilt:
    """The class weights of Algorithm 1. Immutable settings, mutable estimates, complete state.

    Args:
        num_classes: how many classes (or, at image level, images) can be drawn.
        t: the tilt. 0 draws uniformly: the control arm.
        gamma: rate of the moving average, in (0, 1].
        available: bool per class; a class that no training image holds is never drawn. Default: all.

    Raises:
        ValueError: gamma outside (0, 1], t not finite, or no class available.
    """

    def __init__(self, num_classes: int, t: float, gamma: float, available: Sequence[bool] | None = None) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma = {gamma} is not in (0, 1]")
        if not np.isfinite(t):
            raise ValueError(f"t = {t} is not finite")
        self.t = float(t)
        self.gamma = float(gamma)
        self.available = torch.tensor([True] * num_classes if available is None else list(available))
        if len(self.available) != num_classes or not self.available.any():
            raise ValueError(f"available must name at least one of {num_classes} classes")
        self.log_tilted = torch.zeros(num_classes, dtype=torch.float64)  # l_c = t L~_c
        self.visits = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def weights(self) -> Tensor:
        """Line 8: the probability of each class at the next draw, (K,) float64.

        Uniform over the classes not yet visited, while there are any.
        """
        unvisited = self.available & (self.visits == 0)
        if unvisited.any():
            return unvisited.double() / unvisited.sum()
        return torch.softmax(self.log_tilted.masked_fill(~self.available, -torch.inf), 0)

    def draw(self, generator: torch.Generator) -> int:
        """Line 4: a class, at random by `weights`."""
        return int(torch.multinomial(self.weights, 1, generator=generator))

    def update(self, index: int, loss: float) -> None:
        """Line 7: what the drawn class's loss L_B teaches.

        Raises:
            ValueError: a loss that is not finite.
        """
        if not np.isfinite(loss):
            raise ValueError(f"class {index}: loss {loss} is not finite")
        self.visits[index] += 1
        rate = max(self.gamma, 1.0 / int(self.visits[index]))
        self.log_tilted[index] = log_ema(float(self.log_tilted[index]), self.t * loss, rate)

    def state_dict(self) -> State:
        return {"log_tilted": self.log_tilted.tolist(), "visits": self.visits.tolist()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        if len(state["visits"]) != len(self.visits):
            raise ValueError(f"state of {len(state['visits'])} classes for {len(self.visits)}")
        self.log_tilted = torch.tensor(state["log_tilted"], dtype=torch.float64)
        self.visits = torch.tensor([int(n) for n in state["visits"]], dtype=torch.int64)


def overlapping(pixel_counts: np.ndarray) -> list[np.ndarray]:
    """D_c as every image that holds class c. `pixel_counts` is (N, K); K arrays of image indices."""
    return [np.flatnonzero(column) for column in pixel_counts.T]


def disjoint(pixel_counts: np.ndarray) -> list[np.ndarray]:
    """D_c as a partition: each image belongs to its rarest class, rare by pixels over the whole data set.

    Images without a labelled pixel belong nowhere. A class that is never an image's rarest gets none and is never
    drawn: that is the price of not overlapping.
    """
    rarity = np.where(pixel_counts > 0, pixel_counts.sum(axis=0), np.iinfo(np.int64).max)
    owner = np.where(pixel_counts.any(axis=1), rarity.argmin(axis=1), -1)
    return [np.flatnonzero(owner == c) for c in range(pixel_counts.shape[1])]
