"""Logits of an image of any size in bounded memory: overlapping tiles, blended into bands from top to bottom."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tce_core.evaluation import BATCH_PIXELS, STRIDE, predict_logits

WHOLE_LOGITS = 2**28
"""Most logits of an image that is computed whole, and of a row of tiles: 1 GiB of float32."""
SIDES = (1024, 768, 512, 256)
"""Sides of tiles by default. The model averages over what it sees (image pooling), so larger tiles are better."""


def default_tile(height: int, width: int, classes: int) -> int:
    """Return the side of the tiles for an image, or 0 to compute it whole, as an evaluation does with as many pixels.

    A row of tiles is kept, so for many classes and wide images the tiles are smaller.
    """
    if height * width <= BATCH_PIXELS and classes * height * width <= WHOLE_LOGITS:
        return 0
    return next((side for side in SIDES if classes * side * width <= WHOLE_LOGITS), SIDES[-1])


def cover(length: int, tile: int) -> list[tuple[int, Tensor]]:
    """Cover one axis of an image with tiles that overlap by at least a quarter.

    The tiles begin at multiples of the stride of the model, so that its cells are those of the whole image.

    Args:
        length: pixels of the axis.
        tile: pixels of a tile, a multiple of 32.

    Returns:
        For each tile its first pixel and its weights, float32, one for each of its pixels in the image. At every pixel
        the weights of all tiles sum to 1. Towards another tile they fall as a Hann window (a squared cosine), because
        a model knows least about the border of what it sees.
    """
    cells, side = math.ceil(length / STRIDE), tile // STRIDE
    if cells <= side:
        return [(0, torch.ones(length))]
    overlap = math.ceil(side / 4)
    steps = math.ceil((cells - side) / (side - overlap))
    starts = [STRIDE * (step * (cells - side) // steps) for step in range(steps + 1)]
    place, ramp = torch.arange(length) + 0.5, overlap * STRIDE
    windows = torch.zeros(len(starts), length, dtype=torch.float64)
    for window, start in zip(windows, starts, strict=True):
        before = (place - start) if start else torch.full_like(place, ramp)
        after = (start + tile - place) if start + tile < length else torch.full_like(place, ramp)
        inside = torch.minimum(before, after).clamp(0, ramp)
        window.copy_(torch.sin(inside.double() * (math.pi / 2 / ramp)).square())
    windows /= windows.sum(0)
    return [(start, window[start : start + tile].float()) for start, window in zip(starts, windows, strict=True)]


@torch.inference_mode()
def bands(model: nn.Module, image: Tensor, tile: int) -> Iterator[tuple[int, Tensor]]:
    """Compute the logits of an image, and yield them in bands of whole rows from top to bottom.

    What is blended are logits, not probabilities: an adjustment of the logits that is folded into the model then means
    the same with and without tiles. Tiles are blended instead of cut, because the image pooling of DeepLabv3+ sees
    one tile at a time, and a cut shows as a straight line in the mask.

    Args:
        model: gives logits (B, K, H, W) for images whose sides are multiples of `STRIDE`.
        image: (3, H, W) uint8 RGB on the device of the model.
        tile: side of the tiles, a multiple of 32; 0 for the whole image.

    Yields:
        The first row of a band, and its logits (K, h, W) float32, which are valid until the next band.
    """
    height, width = image.shape[-2:]
    rows, columns = (cover(length, tile or length + STRIDE) for length in (height, width))
    if len(rows) == len(columns) == 1:
        yield 0, predict_logits(model, image[None])[0]
        return
    band = torch.empty(0)
    ends = [start for start, _ in rows[1:]] + [height]
    for (top, down), end in zip(rows, ends, strict=True):
        for left, across in columns:
            part = image[:, top : top + len(down), left : left + len(across)]
            logits = predict_logits(model, part[None])[0].float()
            logits *= (down[:, None] * across).to(logits.device)
            if not band.numel():
                band = torch.zeros(len(logits), len(down), width, device=logits.device)
            band[:, : len(down), left : left + len(across)] += logits
        done = end - top
        yield top, band[:, :done]
        kept = band[:, done : len(down)].clone()
        band[:, : len(down) - done] = kept
        band[:, len(down) - done :] = 0
