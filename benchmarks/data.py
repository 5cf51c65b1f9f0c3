"""Measure the data path of one 768x768 training crop of a 2048x1024 image relative to torchvision's, on one thread.

    python benchmarks/data.py [--rounds 20] [--crop 768]

The rival decodes a PNG file and uses `torchvision.transforms.v2`, as most training scripts do: random scale, crop,
flip, `ColorJitter`, normalisation. Ours maps the Arrow file, cuts first, keeps uint8, and changes colours with one
matrix per image. Ours is timed without and with the change of colours, because with a GPU that is not the CPU's work.
The rival's files are in memory, so no disk is measured. Each round runs all of a row once; ratios are of one round.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from full_size import write_arrow
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2

from tce_core.batches import Batches
from tce_core.colours import IMAGENET_MEAN, IMAGENET_STD, normalise
from tce_core.data.crops import CropSettings
from tce_core.data.dataset import Split, open_dataset
from tce_core.sampling import Draw

SCALE, JITTER = (0.5, 2.0), 0.4
SIZE = (1024, 2048)
ROWS = {
    "scale + flip + jitter": {"scale": SCALE, "jitter": JITTER},
    "scale + flip": {"scale": SCALE, "jitter": 0.0},
    "flip + jitter": {"scale": (1.0, 1.0), "jitter": JITTER},
    "flip": {"scale": (1.0, 1.0), "jitter": 0.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds (default: %(default)s)")
    parser.add_argument("--crop", type=int, default=768, help="height and width of the crop (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_arrow(Path(folder), 4, SIZE)
        data = open_dataset(folder)
        size = (options.crop, options.crop)
        print(f"one {options.crop}x{options.crop} crop of {SIZE[1]}x{SIZE[0]}, one thread, {options.rounds} rounds\n")
        print(
            "| crop with | torchvision from PNG / CPU's part | / with colours on the CPU | torchvision | CPU's part |"
        )
        print("|---|---|---|---|---|")
        for name, row in ROWS.items():
            ours, whole = our_crops(data.train, size, row["scale"], row["jitter"])
            rival = torchvision_crops(data.train, size, row["scale"], row["jitter"])
            rivals, cpu, both = measure([rival, ours, whole], options.rounds)
            print(
                f"| {name} | {ratio(rivals, cpu):.0f}x | {ratio(rivals, both):.0f}x "
                f"| {1000 * statistics.median(rivals):.1f} ms | {1000 * statistics.median(cpu):.2f} ms |"
            )


def our_crops(
    split: Split, size: tuple[int, int], scale: tuple[float, float], jitter: float
) -> tuple[Callable[[int], object], Callable[[int], object]]:
    """Return what the CPU does for a GPU, and the same with the colours changed on the CPU, too."""
    batches = Batches(split, CropSettings(size, scale, True, jitter), seed=0, threads=1)

    def cut(i: int) -> object:
        return batches.start([Draw(i % len(split))], step=i, first=0).wait()

    def whole(i: int) -> object:
        batch = batches.start([Draw(i % len(split))], step=i, first=0).wait()
        return normalise(batch.images, batch.colours), batch.labels.long()

    return cut, whole


def torchvision_crops(
    split: Split, size: tuple[int, int], scale: tuple[float, float], jitter: float
) -> Callable[[int], object]:
    """Return the crop of the usual training script."""
    files = [(png(split.image(i)), png(split.mask(i))) for i in range(len(split))]
    resize = [v2.ScaleJitter(SIZE, scale, antialias=True)] if scale != (1.0, 1.0) else []
    colour = [v2.ColorJitter(jitter, jitter, jitter, jitter / 40)] if jitter else []
    pad = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    change = v2.Compose(
        [
            *resize,
            v2.RandomCrop(size, pad_if_needed=True, fill=pad),
            v2.RandomHorizontalFlip(),
            *colour,
            v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def crop(i: int) -> object:
        image, mask = (v2.functional.pil_to_tensor(Image.open(io.BytesIO(file))) for file in files[i % len(files)])
        pixels, labels = change(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return pixels, labels[0].long()

    return crop


def png(array: np.ndarray) -> bytes:
    """Return an image or a mask as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def measure(crops: list[Callable[[int], object]], rounds: int) -> list[list[float]]:
    """Return the seconds of each function in each round, after a round of warm-up."""
    seconds: list[list[float]] = [[] for _ in crops]
    for turn in range(rounds + 1):
        for crop, times in zip(crops, seconds, strict=True):
            started = time.perf_counter()
            crop(turn)
            if turn:
                times.append(time.perf_counter() - started)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return how many times faster `fast` is, the median over the rounds."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


if __name__ == "__main__":
    main()
