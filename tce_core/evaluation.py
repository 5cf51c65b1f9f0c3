"""Prediction on whole images at their own size, and evaluation of a model on a split."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tce_core import distributed
from tce_core.argmax import check_line, most_likely, most_likely_adjusted
from tce_core.colours import normalise
from tce_core.confusion import confusion_of_classes, count_labels, image_counts
from tce_core.data.dataset import Split
from tce_core.threads import single_threaded_pool

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
        (B, H, W) uint8 class ids.
    """
    return most_likely(predict_logits(model, images, bf16))


def predict_logits(model: nn.Module, images: Tensor, bf16: bool = False) -> Tensor:
    """Return the logits (B, K, H, W) of images of any size, see `predict`."""
    height, width = images.shape[-2:]
    x = normalise(images)
    if height % STRIDE or width % STRIDE:
        x = F.pad(x, (0, -width % STRIDE, 0, -height % STRIDE))
    with torch.inference_mode(), autocast(images.device, bf16):
        logits: Tensor = model(x.contiguous(memory_format=torch.channels_last))
    return logits[..., :height, :width]


def evaluate(
    model: nn.Module,
    split: Split,
    device: torch.device,
    *,
    bf16: bool = False,
    batch_pixels: int = BATCH_PIXELS,
    offsets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compare the model's predictions with the labels of a split. The ranks share the images.

    The next batch is read while the model computes. A GPU is waited for only after the last one.

    Args:
        model: see `predict`. It is left in evaluation mode.
        split: N images of K classes.
        device: where the model is.
        bf16: whether to compute in bfloat16.
        batch_pixels: most pixels in one batch. A larger image is a batch of its own.
        offsets: (T, K) float, T adjustments of the logits that are compared in one pass: see `most_likely_adjusted`.
            Default: the logits as they are, T = 1.

    Returns:
        The confusion matrices (T, K, K) int64 of the split, and the true positives, false positives and false
        negatives of each image (T, N, 3, K) int64. Both are on the CPU and the same on every rank.

    Raises:
        ValueError: a label of the split is neither a class nor `VOID`, or the offsets are not those of rising taus.
    """
    model.eval()
    world, rank, k = distributed.world_size(), distributed.rank(), split.num_classes
    if offsets is not None:
        check_line(offsets.cpu())
    moved = None if offsets is None else offsets.to(device, torch.float32)
    taus = 1 if offsets is None else len(offsets)
    labelled = torch.zeros(taus, 256, k, dtype=torch.int64, device=device)
    counts = torch.zeros(taus, len(split), 3, k, dtype=torch.int64, device=device)
    batches = _same_size_batches(split, range(rank, len(split), world), batch_pixels)
    for batch, images, labels in _read_ahead(split, batches, device):
        logits = predict_logits(model, images, bf16)
        found = most_likely(logits)[None] if moved is None else most_likely_adjusted(logits, moved)
        each = torch.stack([count_labels(one, labels, k) for one in found])
        labelled += each.sum(1)
        counts[:, batch[0] : batch[-1] + 1 : world] = image_counts(each[:, :, :k])
    confusion = [confusion_of_classes(one) for one in distributed.global_sum(labelled).cpu()]
    return torch.stack(confusion), distributed.global_sum(counts).cpu()


def _read_ahead(
    split: Split, batches: list[list[int]], device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Yield each batch with its images (B, 3, H, W) uint8 and labels (B, H, W) uint8, and read the next meanwhile."""

    def read(batch: list[int]) -> tuple[list[int], Tensor, Tensor]:
        shape, pinned = (len(batch), *map(int, split.sizes[batch[0]])), device.type == "cuda"
        images = torch.empty((*shape, 3), dtype=torch.uint8, pin_memory=pinned)
        labels = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        np.stack([split.image(i) for i in batch], out=images.numpy())
        np.stack([split.mask(i) for i in batch], out=labels.numpy())
        return batch, images, labels

    with single_threaded_pool(1, "evaluation") as reader:
        following = [reader.submit(read, batch) for batch in batches[:1]]
        for position in range(len(batches)):
            batch, images, labels = following.pop().result()
            following += [reader.submit(read, batch) for batch in batches[position + 1 : position + 2]]
            images = images.to(device, non_blocking=True).permute(0, 3, 1, 2)  # colours last in memory, as in the file
            yield batch, images, labels.to(device, non_blocking=True)


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
