"""Images of full size: as a data set, as PNG files, and the usual PyTorch pipeline that reads those files."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from tce_core import VOID
from tce_core.colours import IMAGENET_MEAN, IMAGENET_STD
from tce_core.config import TrialConfig
from tce_core.data.crops import PADDING
from tce_core.data.dataset import ClassInfo, Split, SplitWriter

CLASSES = tuple(ClassInfo(c, f"class {c}", (c, c, c)) for c in range(19))


def scenes(count: int, size: tuple[int, int], seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images (H, W, 3) and masks (H, W), uint8: smooth colours with the noise of a camera, blocks of classes."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 5, (*size, 3), np.uint8)
    for _ in range(count):
        colours = Image.fromarray(rng.integers(16, 236, (size[0] // 32, size[1] // 32, 3), np.uint8))
        smooth = np.asarray(colours.resize(size[::-1], Image.Resampling.BICUBIC)).clip(0, 250)
        blocks = Image.fromarray(rng.integers(0, len(CLASSES), (size[0] // 32, size[1] // 32), np.uint8))
        yield smooth + noise, np.array(blocks.resize(size[::-1], Image.Resampling.NEAREST))


def write_arrow(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write a data set of `count` training images, and half as many for validation."""
    for split, images, seed in (("train", count, 0), ("val", max(2, count // 2), 1)):
        with SplitWriter(folder / f"{split}.arrow", CLASSES, "random scenes", split) as writer:
            for i, (image, mask) in enumerate(scenes(images, size, seed)):
                writer.add(str(i), image, mask)


def write_png(folder: Path, split: Split) -> None:
    """Write the same images as `0.png`, `0-mask.png`, and so on."""

    def save(i: int) -> None:
        Image.fromarray(split.image(i)).save(folder / f"{i}.png")
        Image.fromarray(split.mask(i)).save(folder / f"{i}-mask.png")

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(save, range(len(split))))


class PlainCrops(Dataset):
    """Random crops from PNG files with torchvision's transforms, as most training scripts make them.

    Args:
        folder: holds the files of `write_png`.
        config: crop, scale, flip and jitter.
        length: how many crops to give; images are taken in turn.
    """

    def __init__(self, folder: Path, config: TrialConfig, length: int) -> None:
        self.folder, self.length = folder, length
        self.count = len(list(folder.glob("*-mask.png")))
        width, height = Image.open(folder / "0.png").size
        fill = {tv_tensors.Image: PADDING, tv_tensors.Mask: VOID}
        self.transform = v2.Compose(
            [
                v2.ScaleJitter((height, width), config.scale),
                v2.RandomCrop(config.crop, pad_if_needed=True, fill=fill),
                v2.RandomHorizontalFlip(0.5 if config.flip else 0.0),
                v2.ColorJitter(config.jitter, config.jitter, config.jitter, config.jitter / 40),
                v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        i = index % self.count
        image = tv_tensors.Image(Image.open(self.folder / f"{i}.png"))
        mask = tv_tensors.Mask(Image.open(self.folder / f"{i}-mask.png"))
        image, mask = self.transform(image, mask)
        return image.as_subclass(Tensor), mask[0].as_subclass(Tensor)
