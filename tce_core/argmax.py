"""The class of the largest logit of each pixel: as it is, or for several adjustments of the logits at once."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tce_core.threads import single_threaded_pool

CPU_TILE, GPU_TILE = 320_000, 2**26
"""Most logits in one part of the work: what a core's cache holds, and a small part of a GPU's memory."""

Tile = tuple[int, int]
"""An image of the batch, and the first of its rows."""


def most_likely(logits: Tensor) -> Tensor:
    """Return the class of the largest logit of each pixel: `logits.argmax(1)`, in less time.

    Args:
        logits: (B, K, H, W) float, at most 255 classes.

    Returns:
        (B, H, W) uint8.
    """
    # On a CPU, max is three times as fast as argmax if the values of a class lie side by side, else as fast.
    return logits.max(1).indices.to(torch.uint8)


def most_likely_adjusted(logits: Tensor, offsets: Tensor) -> Tensor:
    """Return argmax_c (z_c - tau log pi_c) of each pixel, for each tau. It computes in float32.

    On a CPU, every pixel is computed for the first and the last tau only. As tau grows, z_c - tau log pi_c moves along
    a line for each class, and the largest of several lines is a convex function. So a class that is the largest at both
    ends is so between them, too, and only pixels whose class differs are computed for the other taus. The logits are
    read once, in parts that stay in the cache, class by class, so that every step is a vector operation. On a GPU each
    tau is computed, because choosing pixels would wait for it.

    Args:
        logits: (B, K, H, W) float, at most 255 classes.
        offsets: (T, K) float32 on the same device, tau log pi for T rising taus, see `adjust.offsets`.

    Returns:
        (T, B, H, W) uint8. A row of zeros gives `most_likely(logits)`.

    Raises:
        ValueError: see `check_line`; a GPU is not waited for to check it.
    """
    if not offsets.is_cuda:
        check_line(offsets)
    images, classes, height, width = logits.shape
    result = torch.empty(len(offsets), images, height, width, dtype=torch.uint8, device=logits.device)
    rows = min(height, max(1, (GPU_TILE if logits.is_cuda else CPU_TILE) // (classes * width)))
    tiles = [(image, top) for image in range(images) for top in range(0, height, rows)]
    threads = 1 if logits.is_cuda else min(torch.get_num_threads(), len(tiles))
    if logits.is_cuda:
        _on_gpu(logits, offsets, tiles, rows, result)
    elif threads == 1:
        _on_cpu(logits, offsets, tiles, rows, result)
    else:
        with single_threaded_pool(threads, "argmax") as pool:
            shares = [tiles[first::threads] for first in range(threads)]
            list(pool.map(lambda share: _on_cpu(logits, offsets, share, rows, result), shares))
    return result


def check_line(offsets: Tensor) -> None:
    """Check that the rows of offsets (T, K) lie on a line, in order, as tau log pi does for rising taus.

    Raises:
        ValueError: they do not.
    """
    steps = offsets.double() - offsets[0].double()
    whole = steps[-1]
    length = whole.square().sum()
    shares = steps @ whole / length if length > 0 else torch.linspace(0, 1, len(offsets), dtype=torch.float64)
    straight = torch.allclose(steps, shares[:, None] * whole, rtol=1e-4, atol=1e-4)
    if not straight or (shares.diff() < 0).any():
        raise ValueError("the offsets do not lie on a line in order; give tau log pi for rising taus")


def _on_gpu(logits: Tensor, offsets: Tensor, tiles: Iterable[Tile], rows: int, result: Tensor) -> None:
    """Fill the tiles of `result`."""
    for image, top in tiles:
        some = logits[image, :, top : top + rows].float()  # (K, rows, W)
        for row, offset in enumerate(offsets):
            result[row, image, top : top + rows] = (some - offset[:, None, None]).max(0).indices


def _on_cpu(logits: Tensor, offsets: Tensor, tiles: Iterable[Tile], rows: int, result: Tensor) -> None:
    """Fill the tiles of `result`, in one thread."""
    _, classes, _, width = logits.shape
    size = classes * rows * width
    planes, shifted, marks = np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.uint8)
    for image, top in tiles:
        some, into = logits[image, :, top : top + rows].float().numpy(), result[:, image, top : top + rows].numpy()
        values, moved = (buffer[: some.size].reshape(classes, -1) for buffer in (planes, shifted))
        equal = marks[: some.size].reshape(classes, -1)
        np.copyto(values.reshape(some.shape), some)
        shifts = offsets.numpy()
        low, high = (_adjusted(values, offset, moved, equal) for offset in (shifts[0], shifts[-1]))
        differing = np.flatnonzero(low != high)
        few = np.ascontiguousarray(values[:, differing])
        found = np.tile(low, (len(into), 1))
        found[-1] = high
        for row, offset in enumerate(shifts[1:-1], start=1):
            found[row, differing] = _adjusted(few, offset, np.empty_like(few), np.empty(few.shape, np.uint8))
        into[...] = found.reshape(into.shape)


def _adjusted(
    values: npt.NDArray[np.float32],
    offset: npt.NDArray[np.float32],
    moved: npt.NDArray[np.float32],
    marks: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """Return the argmax over the classes of (K, P) after subtracting `offset` (K,). The last two are overwritten."""
    if not offset.any():
        return _argmax(values, marks)
    return _argmax(np.subtract(values, offset[:, None], out=moved), marks)


def _argmax(values: npt.NDArray[np.float32], marks: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return `values.argmax(0)` of (K, P) as (P,) uint8, several times as fast. `marks` (K, P) is overwritten.

    Class c marks the pixels where it has the largest value with K - c, so the largest mark is that of the first one.
    """
    classes = len(values)
    np.equal(values, values.max(axis=0), out=marks.view(np.bool_))
    np.multiply(marks, np.arange(classes, 0, -1, dtype=np.uint8)[:, None], out=marks)
    largest = marks.max(axis=0)
    if not largest.all():  # NaN, which numpy and torch count as the largest value, is not equal to itself
        lost = largest == 0
        largest[lost] = classes - values[:, lost].argmax(axis=0)
    found: npt.NDArray[np.uint8] = classes - largest
    return found
