"""Measure the diagnosis: how long it looks at a data set, and what it takes for a copy.

    python benchmarks/diagnosis.py [--images 40] [--size 1024x2048] [--classes 19] [--dataset FOLDER]

The time is that of regions and fingerprints on noise and rectangles in memory. With a data set, every pair of images in
two splits is compared, and copies of its val images are made and looked for.
"""

import argparse
import io
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import cast

import numpy as np
import torch
from PIL import Image

from tce_core.data.dataset import Dataset, Split, open_dataset
from tce_core.diagnosis.duplicates import BITS, differences, find_duplicates, thumbnails
from tce_core.diagnosis.fingerprints import fingerprint_of
from tce_core.diagnosis.survey import survey


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40, help="images of noise (default: %(default)s)")
    parser.add_argument("--size", default="1024x2048", help="HxW of each (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=19, help="number of classes (default: %(default)s)")
    parser.add_argument("--dataset", type=Path, help="a folder of Arrow files, to look for copies in")
    options = parser.parse_args()
    height, width = (int(n) for n in options.size.split("x"))
    started = time.perf_counter()
    survey(cast(Split, Noise(options.images, height, width, options.classes)))
    each = (time.perf_counter() - started) / options.images
    print(f"{each:.3f} s for an image of {options.size}, {options.classes} classes, {torch.get_num_threads()} threads")
    if options.dataset is not None:
        look_for_copies(open_dataset(options.dataset))


class Noise:
    """What `survey` needs of a split. A hundredth of the pixels of its masks are specks."""

    def __init__(self, images: int, height: int, width: int, classes: int) -> None:
        rng = np.random.default_rng(0)
        self.images = images
        self._image = rng.integers(256, size=(height, width, 3)).astype(np.uint8)
        self._mask = np.zeros((height, width), np.uint8)
        for _ in range(150):
            top, left = rng.integers(height), rng.integers(width)
            bottom, right = top + rng.integers(5, height // 3), left + rng.integers(3, width // 5)
            self._mask[top:bottom, left:right] = rng.integers(classes)
        specks = rng.random((height, width)) < 0.01
        self._mask[specks] = rng.integers(classes, size=int(specks.sum()))
        self.pixel_counts = np.tile(np.bincount(self._mask.ravel(), minlength=classes), (images, 1))

    def __len__(self) -> int:
        return self.images

    def image(self, index: int) -> np.ndarray:
        return self._image

    def mask(self, index: int) -> np.ndarray:
        return self._mask


def look_for_copies(data: Dataset) -> None:
    splits = {split.name: split for split in (data.train, data.val, data.test) if split is not None}
    prints = {name: [fingerprint_of(split.image(i)) for i in range(len(split))] for name, split in splits.items()}
    print(
        f"\n{data.name}\n\n| splits | pairs | by the hash alone | least difference | reported |\n|---|---|---|---|---|"
    )
    for one, two in combinations(prints, 2):
        bits = [np.array([each.bits for each in prints[name]]) for name in (one, two)]
        alike = int(np.count_nonzero(np.bitwise_count(bits[0][:, None] ^ bits[1]) <= BITS))
        grey = thumbnails(prints[two])
        least = min(differences(each, grey).min() for each in thumbnails(prints[one]))
        reported = len(find_duplicates({one: prints[one], two: prints[two]}))
        print(f"| {one}, {two} | {len(bits[0]) * len(bits[1])} | {alike} | {least:.3f} | {reported} |")
    print("\n| copies of val images | found |\n|---|---|")
    for name, change in COPIES.items():
        copies = [fingerprint_of(change(data.val.image(i))) for i in range(len(data.val))]
        found = find_duplicates({"train": prints["val"], "val": copies})
        print(f"| {name} | {sum(copy.image == copy.other_image for copy in found)} of {len(copies)} |")


def _jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file).convert("RGB"))


def _half(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((width // 2, height // 2), Image.Resampling.BILINEAR))


def _noisy(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def _cut(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return image[height // 20 : height - height // 20, width // 20 : width - width // 20]


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 30": _jpeg,
    "half as large": _half,
    "10 grey values brighter": lambda image: np.clip(image.astype(int) + 10, 0, 255).astype(np.uint8),
    "noise of 5 grey values": _noisy,
    "5% cut off at each side": _cut,
}


if __name__ == "__main__":
    main()
