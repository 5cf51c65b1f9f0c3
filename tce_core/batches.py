"""Training batches: a thread pool crops the images of a step.

Threads are enough, because NumPy and torch release Python's global lock while they work on pixels.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from tce_core.data.crops import CropSettings, random_crop
from tce_core.data.dataset import Split
from tce_core.sampling import Draw
from tce_core.seeding import Stream, numpy_generator

Crops = Iterator[tuple[Tensor, Tensor]]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Batches:
    """Make the images and labels of one rank's share of a training step."""

    def __init__(self, split: Split, settings: CropSettings, seed: int, threads: int) -> None:
        self.split, self.settings, self.seed = split, settings, seed
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="crops")

    def start(self, draws: Sequence[Draw], step: int, first: int) -> Crops:
        """Start to crop in the background.

        Args:
            draws: the images of this rank's share.
            step: number of the step, counted from 0 over all epochs.
            first: position of `draws[0]` in the global batch. The step and the position key the random numbers, so
                a batch that is split over ranks has the same crops.

        Returns:
            An iterator for `collect`.
        """
        return self.pool.map(lambda i: self._crop(draws[i], step, first + i), range(len(draws)))

    @staticmethod
    def collect(crops: Crops) -> tuple[Tensor, Tensor]:
        """Wait for the crops and stack them.

        Returns:
            Images (B, 3, h, w) uint8 and labels (B, h, w) int64.
        """
        images, labels = zip(*crops, strict=True)
        return torch.stack(images), torch.stack(labels).long()

    def _crop(self, draw: Draw, step: int, position: int) -> tuple[Tensor, Tensor]:
        rng = numpy_generator(self.seed, Stream.CROP, step, position)
        return random_crop(self.split.image(draw.image), self.split.mask(draw.image), self.settings, rng, draw.focus)

    def close(self) -> None:
        """Stop the threads. Crops that have not started are dropped."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def normalise(images: Tensor) -> Tensor:
    """Shift and scale colours so that ImageNet has mean 0 and standard deviation 1 in each channel.

    Args:
        images: (B, 3, H, W) uint8 RGB.

    Returns:
        (B, 3, H, W) float32 on the same device.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1) * 255
    return (images.float() - mean) / std
