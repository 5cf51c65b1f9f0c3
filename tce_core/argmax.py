"""The class of the largest logit of each pixel: as it is, or for several adjustments of the logits at once."""

import torch
from torch import Tensor

CPU_TILE, GPU_TILE = 2**18, 2**26
"""Most logits in one part of the work: what a core's cache holds, and a small part of a GPU's memory."""


def most_likely(logits: Tensor) -> Tensor:
    """Return the class of the largest logit of each pixel: `logits.argmax(1)`, in less time.

    Args:
        logits: (B, K, H, W) float, at most 256 classes.

    Returns:
        (B, H, W) uint8.
    """
    # On a CPU, max is three times as fast as argmax if the values of a class lie side by side, else as fast.
    return logits.max(1).indices.to(torch.uint8)


def most_likely_adjusted(logits: Tensor, offsets: Tensor) -> Tensor:
    """Return argmax_c (z_c - offset_c) of each pixel, for each row of offsets.

    z_c - tau * l_c is a line in tau, and the largest of lines is convex. So a class that is the largest at two taus
    is the largest between them: only pixels whose class differs at the ends need another look. On a GPU, which
    would have to wait for their number, every pixel is looked at for every row. The two differ only where two classes
    are equal up to rounding.

    Args:
        logits: (B, K, H, W) float, at most 256 classes.
        offsets: (T, K) float32 on the same device, tau * l for T rising taus and one l, see `adjust.offsets`.

    Returns:
        (T, B, H, W) uint8. A row of zeros gives `most_likely(logits)`.
    """
    images, classes, height, width = logits.shape
    result = torch.empty(len(offsets), images, height, width, dtype=torch.uint8, device=logits.device)
    rows = max(1, (GPU_TILE if logits.is_cuda else CPU_TILE) // (classes * width))
    for image in range(images):
        for top in range(0, height, rows):
            part = logits[image, :, top : top + rows].permute(1, 2, 0)  # (rows, W, K)
            pixels = part.reshape(-1, classes)
            found = _every(pixels, offsets) if logits.is_cuda else _ends_first(pixels, offsets)
            result[:, image, top : top + rows] = found.view(len(offsets), -1, width)
    return result


def _largest(pixels: Tensor, offset: Tensor) -> Tensor:
    """(P, K) logits and (K,) offset to (P,) uint8. bfloat16 logits are adjusted in float32."""
    return (pixels - offset).max(1).indices.to(torch.uint8)


def _every(pixels: Tensor, offsets: Tensor) -> Tensor:
    return torch.stack([_largest(pixels, offset) for offset in offsets])


def _ends_first(pixels: Tensor, offsets: Tensor) -> Tensor:
    """(P, K) logits and (T, K) offsets to (T, P) uint8."""
    found = torch.empty(len(offsets), len(pixels), dtype=torch.uint8)
    for end in {0, len(offsets) - 1}:
        found[end] = _largest(pixels, offsets[end])
    _fill_between(pixels, offsets, found)
    return found


def _fill_between(pixels: Tensor, offsets: Tensor, found: Tensor) -> None:
    """Fill the rows of `found` between the first and the last, which are known."""
    if len(offsets) < 3:
        return
    found[1:-1] = found[0]
    differ = (found[0] != found[-1]).nonzero().squeeze(1)
    if differ.numel() == 0:
        return
    some, middle = pixels.index_select(0, differ), len(offsets) // 2
    part = found.index_select(1, differ)
    part[middle] = _largest(some, offsets[middle])
    _fill_between(some, offsets[: middle + 1], part[: middle + 1])
    _fill_between(some, offsets[middle:], part[middle:])
    found.index_copy_(1, differ, part)
