"""Which images the next step trains on: shuffled epochs, or the draws of Algorithm 1.

A sampler draws for the *global* batch and is the same on every rank; each rank trains on its own slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tce_core.config import TrialConfig
from tce_core.seeding import Stream, numpy_generator, torch_generator
from tce_core.stochastic import State, StochasticTilt, disjoint, overlapping


@dataclass(frozen=True)
class Draw:
    """One image of a batch, and the class that its crop must show (None: any crop will do)."""

    image: int
    focus: int | None = None


class Shuffle:
    """Epoch after epoch, every image once in random order. No draw depends on a loss, so batches can be made ahead."""

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed

    def draw(self, step: int) -> list[Draw]:
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        orders = {place // self.num_images: self._order(place // self.num_images) for place in places}
        return [Draw(int(orders[place // self.num_images][place % self.num_images])) for place in places]

    def _order(self, epoch: int) -> np.ndarray:
        return numpy_generator(self.seed, Stream.SHUFFLE, epoch).permutation(self.num_images)

    def state_dict(self) -> State:
        return {}

    def load_state_dict(self, state: State) -> None:
        pass


class StochasticDraws:
    """Algorithm 1 over a data set: groups (classes with their D_c, or single images) drawn by `StochasticTilt`."""

    def __init__(self, config: TrialConfig, pixel_counts: np.ndarray) -> None:
        """`pixel_counts` is (N, K) int64: how many pixels of each class each training image has."""
        self.config = config
        if config.level == "image":
            # An image of void alone is in no group: it has no loss to learn, so it would stay unvisited for ever.
            self.groups = [np.flatnonzero([image.any()]) + i for i, image in enumerate(pixel_counts)]
        else:
            split = overlapping if config.partition == "overlapping" else disjoint
            self.groups = split(pixel_counts)
        available = [len(group) > 0 for group in self.groups]
        self.tilt = StochasticTilt(len(self.groups), config.t, config.gamma, available)

    def set_tilt(self, t: float) -> None:
        """Change t (not from 0) during a tilt warm-up: l_c = t L~_c is rescaled, so that each L~_c is kept."""
        if t != self.tilt.t:
            self.tilt.log_tilted *= t / self.tilt.t
        self.tilt.t = t

    def draw(self, step: int) -> list[Draw]:
        generator = torch_generator(self.config.seed, Stream.DRAW, step)
        size = self.config.batch_size
        if self.config.draw == "batch":
            groups = [self.tilt.draw(generator)] * size
        else:
            groups = [self.tilt.draw(generator) for _ in range(size)]
        return [self._image_of(group, generator) for group in groups]

    def _image_of(self, group: int, generator: torch.Generator) -> Draw:
        images = self.groups[group]
        image = int(images[int(torch.randint(len(images), (1,), generator=generator))])
        return Draw(image, None if self.config.level == "image" else group)

    def learn(self, draws: Sequence[Draw], sums: Tensor, counts: Tensor) -> None:
        """Line 6: L_B of the batch, or of each image where each drew for itself, by the chosen estimator."""
        sums, counts = sums.double().cpu(), counts.cpu()
        if self.config.draw == "batch":
            sums, counts, draws = sums.sum(0, keepdim=True), counts.sum(0, keepdim=True), draws[:1]
        for draw, sum_by_class, count_by_class in zip(draws, sums, counts, strict=True):
            group = draw.image if draw.focus is None else draw.focus
            if self.config.estimator == "class" and draw.focus is not None:
                sum_by_class, count_by_class = sum_by_class[draw.focus], count_by_class[draw.focus]
            if count_by_class.sum():
                self.tilt.update(group, float(sum_by_class.sum() / count_by_class.sum()))

    def state_dict(self) -> State:
        return self.tilt.state_dict() | {"t": [self.tilt.t]}

    def load_state_dict(self, state: State) -> None:
        self.tilt.load_state_dict(state)
        self.tilt.t = float(state["t"][0])


def build_sampler(config: TrialConfig, pixel_counts: np.ndarray) -> Shuffle | StochasticDraws:
    if config.loss == "stochastic_tilt":
        return StochasticDraws(config, pixel_counts)
    return Shuffle(len(pixel_counts), config.batch_size, config.seed)
