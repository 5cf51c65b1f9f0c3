"""The built-in data set `streets`: procedural street scenes with the class imbalance of real ones.

It has ten classes. Wall, rider and person each fill less than one percent of the pixels. A wall looks like a building,
which is common, and a rider looks like a person. Walls and riders are in few images.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tce_core.data.dataset import Dataset, open_dataset
from tce_core.data.schema import ClassInfo
from tce_core.data.streets.scene import RIDER, WALL, Scene
from tce_core.data.writer import SplitWriter, new_folder
from tce_core.errors import UserError

CLASSES = (
    ClassInfo(0, "road", (128, 64, 128)),
    ClassInfo(1, "sidewalk", (244, 35, 232)),
    ClassInfo(2, "building", (70, 70, 70)),
    ClassInfo(3, "wall", (102, 102, 156)),
    ClassInfo(4, "pole", (153, 153, 153)),
    ClassInfo(5, "vegetation", (107, 142, 35)),
    ClassInfo(6, "sky", (70, 130, 180)),
    ClassInfo(7, "person", (220, 20, 60)),
    ClassInfo(8, "rider", (255, 0, 0)),
    ClassInfo(9, "car", (0, 0, 142)),
)
RARE_SHARES = {WALL: 0.12, RIDER: 0.15}  # share of the images of a split that show the class
ENOUGH_IMAGES = 8  # lowest number of images that show a rare class, in a split that is large enough
VISIBLE_SHARE = 1 / 320  # lowest share of the pixels for a rare class in an image that shows it
SMALLEST = 32


def make_streets(
    path: str | Path,
    seed: int = 0,
    train: int = 240,
    val: int = 60,
    test: int = 60,
    size: tuple[int, int] = (96, 160),
) -> Dataset:
    """Draw `streets` into a new folder and open it. Equal arguments give equal bytes.

    Args:
        path: the folder to create; an empty one may exist.
        seed: seed of all scenes, 0 or more.
        train: number of training images, 1 or more.
        val: number of validation images, 1 or more.
        test: number of test images, 1 or more.
        size: height and width of the images in pixels, 32 or more each.

    Raises:
        UserError: `path` is taken or an argument is out of range. Nothing is left behind then.
    """
    counts = {"train": train, "val": val, "test": test}
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"streets: {count} {name} images; each split needs at least 1")
    if min(size) < SMALLEST:
        raise UserError(f"streets: images of {size[0]}x{size[1]} (height x width); each side needs {SMALLEST} or more")
    if seed < 0:
        raise UserError(f"streets: seed {seed}; a seed must be 0 or more")
    with new_folder(path) as folder:
        for stream, (name, count) in enumerate(counts.items()):
            with SplitWriter(folder / f"{name}.arrow", CLASSES, f"procedural, seed {seed}", name) as writer:
                for index, (image, mask) in enumerate(draw(count, size, np.random.default_rng([seed, stream]))):
                    writer.add(f"{name}_{index:05d}", image, mask)
    return open_dataset(path)


def draw(count: int, size: tuple[int, int], rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield `count` scenes, each as an image (H, W, 3) uint8 and a mask (H, W) uint8."""
    # A fixed number of images shows each rare class. Independent chances per image would make the splits differ.
    shown = {label: np.zeros(count, bool) for label in RARE_SHARES}
    for label, share in RARE_SHARES.items():
        images = max(round(share * count), min(ENOUGH_IMAGES, count // 3), 1)
        shown[label][rng.permutation(count)[:images]] = True
    for index in range(count):
        yield _draw_one(size, bool(shown[RIDER][index]), bool(shown[WALL][index]), rng)


def _draw_one(
    size: tuple[int, int], riders: bool, walls: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    wanted = [label for label, asked in ((RIDER, riders), (WALL, walls)) if asked]
    while True:  # until no nearer thing hides a wanted class
        image, mask = Scene(*size, riders, walls, rng).render()
        if all((mask == label).mean() >= VISIBLE_SHARE for label in wanted):
            return image, mask
