"""Feed a training run: draw and cut batches ahead of it, and learn from its losses behind it.

Algorithm 1 draws from class weights that depend on earlier losses. To cut the crops of a step in the background, its
draws must be made before the losses of the steps just before it are known. `TrialConfig.lookahead`, k, says how much
older the weights may be: the draws of step s use the losses of all steps up to s - 1 - k, and of all earlier epochs.
k = 0 is the algorithm as written. The rule depends on the step only, never on how fast a thread or a GPU was, so the
draws are reproducible, and the same on every rank.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tce_core import distributed
from tce_core.batches import Batch, Batches, PendingBatch
from tce_core.config import TrialConfig
from tce_core.sampling import Draw, Shuffle, StochasticDraws
from tce_core.schedules import tilt

AHEAD = 2
"""Steps whose crops are cut ahead when their draws depend on no loss."""


class HostCopy:
    """Tensors on their way from the device to the CPU. The copy waits for nothing until `wait` is called."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        self.done = None
        if any(tensor.is_cuda for tensor in tensors):
            self.done = torch.cuda.Event()
            self.done.record()

    def wait(self) -> list[Tensor]:
        """Wait until the copy is complete, and for nothing that was started later."""
        if self.done is not None:
            self.done.synchronize()
        return self.tensors


@dataclass(frozen=True)
class _Losses:
    step: int
    draws: Sequence[Draw]
    copy: HostCopy


class Feed:
    """The batches of a training run, in order.

    Args:
        config: batch size, lookahead and the schedule of t.
        sampler: draws the global batch of each step.
        batches: makes this rank's share of it.
        total: number of steps of the whole run.
    """

    def __init__(self, config: TrialConfig, sampler: Shuffle | StochasticDraws, batches: Batches, total: int) -> None:
        self.config, self.sampler, self.batches, self.total = config, sampler, batches, total
        self.share = config.batch_size // distributed.world_size()
        self.ahead: deque[tuple[list[Draw], PendingBatch]] = deque()
        self.losses: deque[_Losses] = deque()
        self.draws: list[Draw] = []
        k = config.lookahead
        # With k = 2, the next batch is cut during a step, and the losses that it needs were copied during the last.
        self.depth = min(k, max(1, k - 1)) if isinstance(sampler, StochasticDraws) else AHEAD

    def take(self, step: int, end: int) -> Batch:
        """Return this rank's share of a step, on the CPU, and start to cut the next ones.

        Args:
            step: number of the step, counted from 0 over all epochs. Steps are taken in order.
            end: the first step of the next epoch. Nothing is drawn beyond it.
        """
        while len(self.ahead) <= self.depth and step + len(self.ahead) < end:
            self.ahead.append(self._start(step + len(self.ahead)))
        self.draws, pending = self.ahead.popleft()
        return pending.wait()

    def _start(self, step: int) -> tuple[list[Draw], PendingBatch]:
        if isinstance(self.sampler, StochasticDraws):
            self._learn_until(step - 1 - self.config.lookahead)
            self.sampler.set_tilt(tilt(self.config, step, self.total))
        draws = self.sampler.draw(step)
        first = distributed.rank() * self.share
        return draws, self.batches.start(draws[first : first + self.share], step, first)

    def learn(self, step: int, sums: Tensor, counts: Tensor) -> None:
        """Pass on the losses of the step that was taken last (see `StochasticDraws.learn`).

        Args:
            step: number of the step.
            sums: (B, K) float, sum of the cross-entropy of the global batch by image and class, on any device.
            counts: (B, K) int64, number of pixels by image and class.
        """
        self.losses.append(_Losses(step, self.draws, HostCopy(sums, counts)))

    def end_epoch(self) -> None:
        """Learn from the losses of every step so far. Then the sampler's state is all that a checkpoint needs."""
        self._learn_until(self.total)

    def _learn_until(self, step: int) -> None:
        while self.losses and self.losses[0].step <= step:
            losses = self.losses.popleft()
            sums, counts = losses.copy.wait()
            # From a loss that is not finite there is nothing to learn. The run reports it at the end of the epoch.
            if isinstance(self.sampler, StochasticDraws) and sums.isfinite().all():
                self.sampler.learn(losses.draws, sums, counts)

    def close(self) -> None:
        self.batches.close()
