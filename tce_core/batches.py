"""Training batches: the draws of a step, cropped in a thread pool (the pixel work releases Python's lock)."""

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
    """Makes the images and labels of one rank's share of a step."""

    def __init__(self, split: Split, settings: CropSettings, seed: int, threads: int) -> None:
        self.split, self.settings, self.seed = split, settings, seed
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="crops")

    def start(self, draws: Sequence[Draw], step: int, first: int) -> Crops:
        """Begin cropping in the background.

        `first` is the place of draws[0] in the global batch: step and place key the random numbers.
        """
        return self.pool.map(lambda i: self._crop(draws[i], step, first + i), range(len(draws)))

    @staticmethod
    def collect(crops: Crops) -> tuple[Tensor, Tensor]:
        """Wait for the crops: images (B, 3, h, w) uint8 and labels (B, h, w) int64."""
        images, labels = zip(*crops, strict=True)
        return torch.stack(images), torch.stack(labels).long()

    def _crop(self, draw: Draw, step: int, place: int) -> tuple[Tensor, Tensor]:
        rng = numpy_generator(self.seed, Stream.CROP, step, place)
        return random_crop(self.split.image(draw.image), self.split.mask(draw.image), self.settings, rng, draw.focus)

    def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)


def normalise(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 with ImageNet's mean 0 and standard deviation 1, on the images' device."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=images.device).view(3, 1, 1) * 255
    return (images.float() - mean) / std
