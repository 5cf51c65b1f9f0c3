"""Training batches: for a GPU, a thread pool cuts the crops of a step while the model trains on an earlier one.

Threads are enough, because NumPy and torch release Python's global lock while they work on pixels. A batch stays uint8
until it is on the model's device: four bytes per pixel are copied, and colours change there (`colours.py`).

A model that trains on the CPU leaves no core free, and small crops take less time than threads need to pass Python's
lock to each other. Then crops are cut when their step begins.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tce_core.colours import jitter
from tce_core.data.crops import CropSettings, random_crop
from tce_core.data.dataset import Split
from tce_core.sampling import Draw
from tce_core.seeding import Stream, numpy_generator
from tce_core.threads import single_threaded_pool


@dataclass(frozen=True)
class Batch:
    """One rank's share of a training step: B crops of height h and width w."""

    images: Tensor
    """(B, 3, h, w) uint8 RGB. In memory, the colours of a pixel lie side by side, as in the data set."""
    labels: Tensor
    """(B, h, w) uint8."""
    colours: Tensor | None
    """(B, 2, 3, 3) float32, the colour changes for `colours.normalise`; None: no jitter."""

    def to(self, device: torch.device) -> "Batch":
        """Copy to `device`. From page-locked memory to a GPU, the copy runs beside the computation."""
        colours = None if self.colours is None else self.colours.to(device, non_blocking=True)
        return Batch(self.images.to(device, non_blocking=True), self.labels.to(device, non_blocking=True), colours)


@dataclass(frozen=True)
class PendingBatch:
    """A batch whose crops are being cut, or will be by `wait`."""

    batch: Batch
    crops: Iterator[None]

    def wait(self) -> Batch:
        """Wait for the crops and return the batch."""
        for _ in self.crops:
            pass
        return self.batch


class Batches:
    """Make batches.

    Args:
        split: the images.
        settings: how crops are made.
        seed: seed of the run.
        threads: how many crops are cut at a time in the background; 0: the caller cuts them when it waits.
        pinned: whether batches are made in page-locked memory, for a GPU.
    """

    def __init__(self, split: Split, settings: CropSettings, seed: int, threads: int, *, pinned: bool = False) -> None:
        self.split, self.settings, self.seed, self.pinned = split, settings, seed, pinned
        self.pool = single_threaded_pool(threads, "crops") if threads else None

    def start(self, draws: Sequence[Draw], step: int, first: int) -> PendingBatch:
        """Start to cut crops.

        Args:
            draws: the images of this rank's share, B draws.
            step: number of the step, counted from 0 over all epochs.
            first: position of `draws[0]` in the global batch. The step and the position key the random numbers, so
                a batch that is split over ranks has the same crops.
        """
        size, (height, width) = len(draws), self.settings.size
        images = torch.empty((size, height, width, 3), dtype=torch.uint8, pin_memory=self.pinned)
        labels = torch.empty((size, height, width), dtype=torch.uint8, pin_memory=self.pinned)
        colours = torch.empty((size, 2, 3, 3), pin_memory=self.pinned) if self.settings.jitter else None
        pixels, ids = images.numpy(), labels.numpy()

        def crop(i: int) -> None:
            rng = numpy_generator(self.seed, Stream.CROP, step, first + i)
            image, mask = self.split.image(draws[i].image), self.split.mask(draws[i].image)
            pixels[i], ids[i] = random_crop(image, mask, self.settings, rng, draws[i].focus)
            if colours is not None:
                colours[i] = torch.from_numpy(jitter(self.settings.jitter, rng))

        crops = map(crop, range(size)) if self.pool is None else self.pool.map(crop, range(size))
        return PendingBatch(Batch(images.permute(0, 3, 1, 2), labels, colours), crops)

    def close(self) -> None:
        """Stop the threads. Crops that have not started are dropped."""
        if self.pool is not None:
            self.pool.shutdown(wait=False, cancel_futures=True)
