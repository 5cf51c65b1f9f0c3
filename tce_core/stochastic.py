"""Stochastic TCE, Algorithm 1 of arXiv 2103.14051: draw a class, learn from its loss, update the class weights.

The algorithm keeps a running tilted loss L~_c for each class c. Its lines in the paper:

    draw c with probability w_c, then a mini-batch B from D_c              (lines 4-5)
    L_B <- loss (1) on B                                                   (line 6)
    e^{t L~_c} <- (1 - gamma) e^{t L~_c} + gamma e^{t L_B}                 (line 7)
    w_c <- e^{t L~_c} / sum_k e^{t L~_k}                                   (line 8)

Two things differ here from the paper:

- l_c = t L~_c is stored (`running.py`). Line 7 becomes `log_ema` and line 8 a softmax, and no t overflows.
- The paper starts its moving averages at 0. After the first update the drawn class has probability ~1 and keeps it.
  Here every class is visited once before the weights are used. The rate is max(gamma, 1 / visits), so that the first
  estimates are plain means of e^{t L_B}.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tce_core.running import RunningTilt


class StochasticTilt(RunningTilt):
    """The class weights of Algorithm 1: running tilted losses by which classes are drawn.

    Args:
        num_classes: how many classes (or, at image level, images) can be drawn.
        t: the tilt, finite. 0 draws uniformly, as a control.
        gamma: rate of the moving average, in (0, 1].
        available: for each class, whether it can be drawn (whether a training image shows it). Default: all.

    Raises:
        ValueError: gamma is outside (0, 1], t is not finite, or `available` has the wrong length or no True.
    """

    def __init__(self, num_classes: int, t: float, gamma: float, available: Sequence[bool] | None = None) -> None:
        super().__init__(num_classes, t, gamma)
        self.available = torch.tensor([True] * num_classes if available is None else list(available))
        if len(self.available) != num_classes or not self.available.any():
            raise ValueError(f"available must name at least one of {num_classes} classes")

    @property
    def weights(self) -> Tensor:
        """Probability of each class at the next draw, line 8: (K,) float64.

        While there are classes that were not visited yet, it is uniform over them and 0 for the others.
        """
        unvisited = self.available & (self.visits == 0)
        if unvisited.any():
            return unvisited.double() / unvisited.sum()
        return torch.softmax(self.log_tilted.masked_fill(~self.available, -torch.inf), 0)

    def draw(self, generator: torch.Generator) -> int:
        """Draw a class with the probabilities `weights`, line 4."""
        return self.draw_many(1, generator)[0]

    def draw_many(self, count: int, generator: torch.Generator) -> list[int]:
        """Draw `count` classes one after the other with the same probabilities, line 4."""
        weights = self.weights
        return [int(torch.multinomial(weights, 1, generator=generator)) for _ in range(count)]

    def update(self, index: int, loss: float) -> None:
        """Update the running loss of the drawn class, line 7.

        Args:
            index: the class that was drawn.
            loss: L_B, finite.

        Raises:
            ValueError: the loss is not finite.
        """
        if not np.isfinite(loss):
            raise ValueError(f"class {index}: loss {loss} is not finite")
        self.follow(torch.tensor([loss], dtype=torch.float64), torch.tensor([True]), slice(index, index + 1))


def overlapping(pixel_counts: np.ndarray) -> list[np.ndarray]:
    """Return D_c as every image that shows class c.

    Args:
        pixel_counts: (N, K) int64, pixels of each class in each image.

    Returns:
        K arrays of image indices, in increasing order.
    """
    return [np.flatnonzero(column) for column in pixel_counts.T]


def disjoint(pixel_counts: np.ndarray) -> list[np.ndarray]:
    """Return D_c as a partition: each image belongs to the class in it that has the fewest pixels in the whole split.

    An image without a labelled pixel belongs to no class. A class that is not the rarest class of any image has an
    empty D_c and is never drawn.

    Args:
        pixel_counts: (N, K) int64, pixels of each class in each image.

    Returns:
        K arrays of image indices, in increasing order.
    """
    rarity = np.where(pixel_counts > 0, pixel_counts.sum(axis=0), np.iinfo(np.int64).max)
    owner = np.where(pixel_counts.any(axis=1), rarity.argmin(axis=1), -1)
    return [np.flatnonzero(owner == c) for c in range(pixel_counts.shape[1])]
