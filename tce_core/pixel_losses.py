"""The cross-entropy of each pixel, and its sums by class: the one pass over the pixels that every loss shares.

`F.cross_entropy` stores two tensors of the size of the logits, the log-probabilities and their gradient. `pixel_losses`
stores none on a CPU: the backward pass computes the probabilities again, in tiles that fit into the processor's cache.
Recomputing them costs less than writing and reading them. A GPU's memory is fast enough for torch's own way.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from tce_core import VOID
from tce_core.tiles import tiles

SMALL = 2**22
"""Up to this number of logits, torch's own implementation is faster: what it stores fits into the cache, or nearly."""


def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of each pixel: `F.cross_entropy(..., ignore_index=VOID, reduction="none")`.

    Its gradient can be computed once; large logits have no second derivative.

    Args:
        logits: (B, K, H, W) float. Half-precision logits are computed in float32.
        labels: (B, H, W) int64.

    Returns:
        (B, H, W) float32 (float64 for float64 logits), 0 at void pixels.
    """
    if _torch_is_faster(logits):
        return F.cross_entropy(logits.to(precise(logits)), labels, ignore_index=VOID, reduction="none")
    losses: Tensor = _PixelLosses.apply(logits, labels)  # type: ignore[no-untyped-call]
    return losses


def summed_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of `pixel_losses`, a scalar, in less time."""
    if _torch_is_faster(logits):
        return F.cross_entropy(logits.to(precise(logits)), labels, ignore_index=VOID, reduction="sum")
    return pixel_losses(logits, labels).sum()


def class_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Add up the cross-entropy of the pixels of each class in each image.

    Args:
        logits: (B, K, H, W) float.
        labels: (B, H, W) int64.

    Returns:
        Sums (B, K) float32, differentiable, and pixel counts (B, K) int64.
    """
    classes = logits.shape[1]
    sums = sums_by_class(pixel_losses(logits, labels), labels, classes)
    return sums, sums_by_class(torch.ones_like(labels, dtype=torch.int32), labels, classes).long()


def sums_by_class(values: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Add up the values of the pixels of each class in each image, without waiting for the device.

    Args:
        values: (B, H, W) of any number type.
        labels: (B, H, W) int64; void pixels are left out.
        num_classes: K.

    Returns:
        (B, K) in the dtype of `values`.
    """
    images = len(labels)
    # The pixels of a row mostly have the same class. On a GPU, each column has a bin of its own, or they would wait
    # for each other.
    index = labels if labels.is_cuda else labels.flatten(1)
    bins = (images, VOID + 1, *index.shape[2:])  # every id that a label can have, `VOID` too: labels are indices
    sums = values.new_zeros(bins).scatter_add(1, index, values.view(index.shape))
    return sums.view(images, VOID + 1, -1).sum(2)[:, :num_classes]


class _PixelLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, labels)
        losses = logits.new_empty(labels.shape, dtype=precise(logits))
        for images, rows in tiles(logits):
            losses[images, rows] = F.cross_entropy(
                logits[images, :, rows].to(losses.dtype), labels[images, rows], ignore_index=VOID, reduction="none"
            )
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_losses: Tensor) -> tuple[Tensor, None]:
        """The gradient of -log p_y by the logits is p - (1 at the label y, 0 elsewhere)."""
        logits, labels = ctx.saved_tensors
        grad = torch.empty_like(logits)
        minus_one = grad_losses.new_full((), -1.0)
        for images, rows in tiles(logits):
            label, factor = labels[images, rows].unsqueeze(1), grad_losses[images, rows].unsqueeze(1)
            void = label == VOID
            slope = torch.softmax(logits[images, :, rows], 1, dtype=grad_losses.dtype)
            slope.scatter_add_(1, label.masked_fill(void, 0), minus_one.expand(label.shape))
            torch.mul(slope, factor.masked_fill(void, 0), out=grad[images, :, rows])
        return grad, None


def _torch_is_faster(logits: Tensor) -> bool:
    return logits.is_cuda or logits.numel() <= SMALL


def precise(logits: Tensor) -> torch.dtype:
    """Return the dtype to compute a loss in: float32, or float64 for float64 logits."""
    return torch.promote_types(logits.dtype, torch.float32)
