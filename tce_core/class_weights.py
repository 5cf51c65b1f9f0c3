"""What losses know of the frequency of each class: weights, and the logarithms of shares, on the device of the loss."""

import functools

import torch
from torch import Tensor

from tce_core import VOID


def inverse_frequency_weights(pixel_counts: Tensor, power: float = 1.0) -> tuple[float, ...]:
    """Compute class weights (pixel count) ** -power, normalised to mean 1 over the classes that occur.

    Args:
        pixel_counts: (K,) int64, pixels of each class.
        power: exponent; 0 gives equal weights.

    Returns:
        K weights. A class without a pixel has weight 0, which is never used.
    """
    counts = pixel_counts.double()
    present = counts > 0
    weights = torch.where(present, counts.clamp(min=1) ** -power, 0)
    return tuple((weights / weights.sum() * present.sum()).tolist())


def log_shares(shares: tuple[float, ...], logits: Tensor) -> Tensor:
    """Return the logarithm of each class's share, (1, K, 1, 1) float32, on the device of the logits.

    Raises:
        ValueError: there are not as many shares as classes.
    """
    if len(shares) != logits.shape[1]:
        raise ValueError(f"{len(shares)} class shares for {logits.shape[1]} classes")
    return _table(shares, logits.device)[: len(shares)].log().view(1, -1, 1, 1)


def weight_of_pixels(class_weights: tuple[float, ...], logits: Tensor, labels: Tensor) -> Tensor:
    """Return the weight of each pixel's class, (B, H, W) float32, 0 at void pixels.

    Raises:
        ValueError: there are not as many weights as classes.
    """
    if len(class_weights) != logits.shape[1]:
        raise ValueError(f"{len(class_weights)} class weights for {logits.shape[1]} classes")
    return _table(class_weights, logits.device).index_select(0, labels.flatten()).view(labels.shape)


@functools.lru_cache(maxsize=8)
def _table(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the value of each id that a label can have, (256,) float32. It is copied to a GPU only once."""
    table = torch.zeros(VOID + 1, device=device)
    table[: len(values)] = torch.tensor(values, device=device)
    return table
