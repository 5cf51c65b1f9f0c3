"""Samplers choose the images of each training step: shuffled epochs, focused draws, or the draws of Algorithm 1.

A sampler draws the *global* batch. All ranks draw the same batch, and each trains on its own slice of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tce_core.config import TrialConfig
from tce_core.running import State
from tce_core.seeding import Stream, numpy_generator, torch_generator
from tce_core.stochastic import StochasticTilt, disjoint, overlapping


@dataclass(frozen=True)
class Draw:
    """One image of a batch."""

    image: int
    """Index of the image in the training split."""
    focus: int | None = None
    """Class that the crop must show; None: any crop."""


class Shuffle:
    """Draws every image once per pass through the data, in random order.

    No draw depends on a loss, so batches can be prepared in advance.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self._order = lru_cache(maxsize=2)(self._shuffled)  # or each step would shuffle all images

    def draw(self, step: int) -> list[Draw]:
        """Return the global batch of a step; steps are counted from 0 over all epochs."""
        return [Draw(self.image(i)) for i in range(step * self.batch_size, (step + 1) * self.batch_size)]

    def image(self, place: int) -> int:
        """Return the image at a place of the order of all passes, counted from 0."""
        data_pass, position = divmod(place, self.num_images)
        return int(self._order(data_pass)[position])

    def _shuffled(self, data_pass: int) -> np.ndarray:
        return numpy_generator(self.seed, Stream.SHUFFLE, data_pass).permutation(self.num_images)

    def state_dict(self) -> State:
        """Return nothing: a draw depends on the seed and the step only."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Do nothing, see `state_dict`."""


class FocusedDraws(Shuffle):
    """A share of the images is drawn for a class, which their crops show; the others come from the shuffle.

    A focused draw takes class c with the probability of `focus_probabilities`, then one of the images that show c:
    rare class sampling of DAFormer (arXiv 2111.14887, section 3.3). nnU-Net focuses a third of each batch on a class of
    the image (arXiv 1904.08128). The share holds over the whole run and is spread evenly, so that each batch, and each
    rank's part of it, has it rounded up or down.
    """

    def __init__(self, config: TrialConfig, pixel_counts: np.ndarray) -> None:
        """Find the images of each class.

        Args:
            config: `focus_share` and `focus_temperature`.
            pixel_counts: (N, K) int64, pixels of each class in each training image.
        """
        super().__init__(len(pixel_counts), config.batch_size, config.seed)
        self.config = config
        self.images = overlapping(pixel_counts)
        self.probabilities = focus_probabilities(pixel_counts.sum(axis=0), config.focus_temperature)

    def draw(self, step: int) -> list[Draw]:
        """Return the global batch of a step; steps are counted from 0 over all epochs."""
        generator = torch_generator(self.config.seed, Stream.DRAW, step)
        first = step * self.config.batch_size
        return [self._drawn(place, generator) for place in range(first, first + self.config.batch_size)]

    def _drawn(self, place: int, generator: torch.Generator) -> Draw:
        before = int(place * self.config.focus_share)  # focused draws of the whole run before this one
        if int((place + 1) * self.config.focus_share) == before:
            return Draw(self.image(place - before))
        focus = int(torch.multinomial(self.probabilities, 1, generator=generator))
        return Draw(_one_of(self.images[focus], generator), focus)


def focus_probabilities(pixels: np.ndarray, temperature: float | None) -> Tensor:
    """Return the probability of each class in a focused draw: P(c) = softmax((1 - f_c) / T) (arXiv 2111.14887).

    f_c is the share of class c in all labelled pixels. A low T favours the rarest classes; DAFormer has T = 0.01.

    Args:
        pixels: (K,) int64, pixels of each class in the training split.
        temperature: T above 0, or None: all classes are equally likely.

    Returns:
        (K,) float64. A class without a pixel has probability 0.
    """
    counts = torch.as_tensor(pixels, dtype=torch.float64)
    rarity = torch.zeros_like(counts) if temperature is None else (1 - counts / counts.sum()) / temperature
    return torch.softmax(rarity.masked_fill(counts == 0, -torch.inf), 0)


class StochasticDraws:
    """Algorithm 1 over a data set. `StochasticTilt` draws groups: the classes with their D_c, or single images."""

    def __init__(self, config: TrialConfig, pixel_counts: np.ndarray) -> None:
        """Find the groups.

        Args:
            config: the settings of `stochastic_tilt`.
            pixel_counts: (N, K) int64, pixels of each class in each training image.
        """
        self.config = config
        if config.level == "image":
            # The group of an all-void image is empty: the image has no loss, so it would never count as visited.
            self.groups = [np.flatnonzero([image.any()]) + i for i, image in enumerate(pixel_counts)]
        else:
            split = overlapping if config.partition == "overlapping" else disjoint
            self.groups = split(pixel_counts)
        available = [len(group) > 0 for group in self.groups]
        self.tilt = StochasticTilt(len(self.groups), config.t, config.gamma, available)

    def set_tilt(self, t: float) -> None:
        """Change t during a tilt warm-up (see `RunningTilt.set_tilt`)."""
        self.tilt.set_tilt(t)

    def draw(self, step: int) -> list[Draw]:
        """Draw the groups and images of a step, lines 4-5; steps are counted from 0 over all epochs."""
        generator = torch_generator(self.config.seed, Stream.DRAW, step)
        size = self.config.batch_size
        if self.config.draw == "batch":
            groups = [self.tilt.draw(generator)] * size
        else:
            groups = self.tilt.draw_many(size, generator)
        return [self._image_of(group, generator) for group in groups]

    def _image_of(self, group: int, generator: torch.Generator) -> Draw:
        return Draw(_one_of(self.groups[group], generator), None if self.config.level == "image" else group)

    def learn(self, draws: Sequence[Draw], sums: Tensor, counts: Tensor) -> None:
        """Compute L_B (line 6) with the chosen estimator and update the running losses (line 7).

        L_B is the loss of the whole batch if there was one draw for the batch, else of each image. A draw without a
        valid pixel changes nothing.

        Args:
            draws: the global batch, B draws.
            sums: (B, K) float, sum of the cross-entropy by image and class (see `class_losses`).
            counts: (B, K) int64, number of pixels by image and class.
        """
        sums, counts = sums.double().cpu(), counts.cpu()
        if self.config.draw == "batch":
            sums, counts, draws = sums.sum(0, keepdim=True), counts.sum(0, keepdim=True), draws[:1]
        if self.config.estimator == "class" and self.config.level == "class":
            drawn = torch.tensor([draw.focus for draw in draws])[:, None]
            sums, counts = sums.gather(1, drawn), counts.gather(1, drawn)
        for draw, total, pixels in zip(draws, sums.sum(1).tolist(), counts.sum(1).tolist(), strict=True):
            if pixels:
                self.tilt.update(draw.image if draw.focus is None else draw.focus, total / pixels)

    def state_dict(self) -> State:
        """Return the running losses, the visits and the current tilt."""
        return self.tilt.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` returned."""
        self.tilt.load_state_dict(state)


def _one_of(images: np.ndarray, generator: torch.Generator) -> int:
    """Draw one of some images, all equally likely."""
    return int(images[int(torch.randint(len(images), (1,), generator=generator))])


def build_sampler(config: TrialConfig, pixel_counts: np.ndarray) -> Shuffle | StochasticDraws:
    """Build the sampler of a configuration.

    Args:
        config: its loss and its `focus_share` decide the kind of sampler.
        pixel_counts: (N, K) int64, pixels of each class in each training image.
    """
    if config.loss == "stochastic_tilt":
        return StochasticDraws(config, pixel_counts)
    if config.focus_share > 0:
        return FocusedDraws(config, pixel_counts)
    return Shuffle(len(pixel_counts), config.batch_size, config.seed)
