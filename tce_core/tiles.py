"""Tiles of a batch of logits: parts that are computed one after the other, so that what lies between stays small."""

from collections.abc import Iterator

from torch import Tensor

TILE = 2**20
"""Logits in one tile on a CPU: 4 MB of float32. Its memory is used again, and mostly stays in the cache. Smaller tiles
are no faster on one thread, and several threads wait for each other after every operation on a tile."""


def tiles(logits: Tensor) -> Iterator[tuple[slice, slice]]:
    """Cut logits (B, K, H, W) into tiles: whole images if several fit into a tile, else rows of one image.

    Yields:
        The images and the rows of each tile: `logits[images, :, rows]`.
    """
    images, classes, height, width = logits.shape
    some_images = max(1, TILE // max(1, classes * height * width))
    some_rows = height if some_images > 1 else max(1, TILE // max(1, classes * width))
    for image in range(0, images, some_images):
        for row in range(0, height, some_rows):
            yield slice(image, image + some_images), slice(row, row + some_rows)
