"""Whole-image prediction at native size, and the counts that a trained model gets on a split."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tce_core import distributed
from tce_core.batches import normalise
from tce_core.confusion import confusion_matrix, image_counts
from tce_core.data.dataset import Split

STRIDE = 16
"""Images are padded to multiples of this before the model and its logits cropped back."""

BATCH_PIXELS = 2**21
"""One image of 1024x2048 at a time, or a dozen of 360x480: bounds the memory that evaluation takes."""


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[object]:
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


def predict(model: nn.Module, images: Tensor, bf16: bool = False) -> Tensor:
    """Class of every pixel: (B, 3, H, W) uint8 -> (B, H, W) int64, any H and W."""
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
    """The model's counts on every image of a split, shared out over the ranks.

    Returns:
        The summed confusion matrix (K, K) int64 and each image's true positives, false positives and false
        negatives (N, 3, K) int64, both on the CPU and the same on every rank.
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
    """Consecutive images of one size, so that a batch can be stacked without resizing anything."""
    batches: list[list[int]] = []
    for i in indices:
        last = batches[-1] if batches else []
        room = batch_pixels // int(split.sizes[i].prod())
        if last and len(last) < room and (split.sizes[i] == split.sizes[last[0]]).all():
            last.append(i)
        else:
            batches.append([i])
    return batches
