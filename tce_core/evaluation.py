"""Prediction on whole images at their own size, and evaluation of a model on a split."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tce_core import distributed
from tce_core.colours import normalise
from tce_core.confusion import confusion_matrix, image_counts
from tce_core.data.dataset import Split

STRIDE = 16
"""The sides of an image are padded to multiples of this for the model. The logits are cropped back."""

BATCH_PIXELS = 2**21
"""Most pixels in one batch (one image of 1024x2048, or twelve of 360x480). It bounds the memory of an evaluation."""


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    """Return the context in which the model computes: bfloat16 autocast, or none."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def predict(model: nn.Module, images: Tensor, bf16: bool = False) -> Tensor:
    """Predict the class of every pixel.

    Args:
        model: gives logits (B, K, H, W) for images whose sides are multiples of `STRIDE`.
        images: (B, 3, H, W) uint8 RGB, any H and W.
        bf16: whether to compute in bfloat16.

    Returns:
        (B, H, W) int64 class ids.
    """
    height, width = images.shape[-2:]
    padding = (0, -width % STRIDE, 0, -height % STRIDE)
    x = F.pad(normalise(images), padding).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), autocast(images.device, bf16):
        logits = model(x)
    prediction: Tensor = logits[..., :height, :width].argmax(1)
    return prediction


def evaluate(
    model: nn.Module, split: Split, device: torch.device, *, bf16: bool = False, batch_pixels: int = BATCH_PIXELS
) -> tuple[Tensor, Tensor]:
    """Compare the model's predictions with the labels of a split. The ranks share the images.

    Args:
        model: see `predict`. It is left in evaluation mode.
        split: N images of K classes.
        device: where the model is.
        bf16: whether to compute in bfloat16.
        batch_pixels: most pixels in one batch. A larger image is a batch of its own.

    Returns:
        The confusion matrix (K, K) int64 of the split, and the true positives, false positives and false negatives
        of each image (N, 3, K) int64. Both are on the CPU and the same on every rank.
    """
    model.eval()
    world, rank, k = distributed.world_size(), distributed.rank(), split.num_classes
    confusion = torch.zeros(k, k, dtype=torch.int64, device=device)
    counts = torch.zeros(len(split), 3, k, dtype=torch.int64, device=device)
    for batch in _same_size_batches(split, range(rank, len(split), world), batch_pixels):
        images = torch.stack([torch.tensor(split.image(i)).permute(2, 0, 1) for i in batch]).to(device)
        for i, prediction in zip(batch, predict(model, images, bf16), strict=True):
            labels = torch.tensor(split.mask(i), device=device).long()
            one = confusion_matrix(prediction, labels, k)
            confusion += one
            counts[i] = image_counts(one)
    return distributed.global_sum(confusion).cpu(), distributed.global_sum(counts).cpu()


def _same_size_batches(split: Split, indices: range, batch_pixels: int) -> list[list[int]]:
    """Group consecutive images of the same size, so that they can be stacked without resizing."""
    batches: list[list[int]] = []
    for i in indices:
        last = batches[-1] if batches else []
        room = batch_pixels // int(split.sizes[i].prod())
        if last and len(last) < room and (split.sizes[i] == split.sizes[last[0]]).all():
            last.append(i)
        else:
            batches.append([i])
    return batches
