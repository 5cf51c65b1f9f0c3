"""Running tilted losses: line 7 of Algorithm 1 (arXiv 2103.14051) for many classes at once, on any device.

For each class c, l_c = t L~_c is stored. Line 7, e^{t L~_c} <- (1 - gamma) e^{t L~_c} + gamma e^{t L}, becomes
`log_ema`, so that no t overflows. The rate is max(gamma, 1 / visits): the first estimates are plain means of e^{tL}.

`stochastic.py` draws classes by these losses; `losses/tilted.py` weights the loss of each class by them.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tce_core.tilt import log_ema

State = dict[str, list[float] | list[int]]


class RunningTilt:
    """The running tilted loss of each class.

    Args:
        num_classes: how many there are.
        t: the tilt, finite.
        gamma: rate of the moving average, in (0, 1].

    Raises:
        ValueError: gamma is outside (0, 1], or t is not finite.
    """

    def __init__(self, num_classes: int, t: float, gamma: float) -> None:
        if not 0 < gamma <= 1:
            raise ValueError(f"gamma = {gamma} is not in (0, 1]")
        if not math.isfinite(t):
            raise ValueError(f"t = {t} is not finite")
        self.t = float(t)
        self.gamma = float(gamma)
        self.log_tilted = torch.zeros(num_classes, dtype=torch.float64)  # l_c = t L~_c
        self.visits = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.visits)

    def set_tilt(self, t: float) -> None:
        """Change t during a tilt warm-up. l_c = t L~_c is rescaled, so that each L~_c stays the same.

        Args:
            t: the new tilt. If the current tilt is 0, only 0 is allowed.
        """
        if t != self.t:
            self.log_tilted *= t / self.t
        self.t = t

    def follow(self, losses: Tensor, where: Tensor, classes: slice = slice(None)) -> None:
        """Update the running losses, line 7. Nothing here waits for the device; the state moves to that of `losses`.

        Args:
            losses: (n,) float without gradient, the new loss of each class.
            where: (n,) bool; the other classes keep theirs.
            classes: the n classes. Default: all.
        """
        self.log_tilted, self.visits = self.log_tilted.to(losses.device), self.visits.to(losses.device)
        self.visits[classes] += where
        rates = self.visits[classes].clamp(min=1).double().reciprocal().clamp(min=self.gamma)
        averages = log_ema(self.log_tilted[classes], self.t * losses.double(), rates)
        self.log_tilted[classes] = torch.where(where, averages, self.log_tilted[classes])

    def state_dict(self) -> State:
        """Return l_c and the number of visits of each class, and the current tilt."""
        return {"log_tilted": self.log_tilted.tolist(), "visits": self.visits.tolist(), "t": [self.t]}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ValueError: the state has another number of classes.
        """
        if len(state["visits"]) != self.num_classes:
            raise ValueError(f"the state has {len(state['visits'])} classes, not {self.num_classes}")
        self.log_tilted = torch.tensor(state["log_tilted"], dtype=torch.float64)
        self.visits = torch.tensor([int(n) for n in state["visits"]], dtype=torch.int64)
        self.t = float(state["t"][0])
