"""The mean of the largest values: conditional value at risk, over pixels or classes."""

import math

import torch
from torch import Tensor


def mean_of_worst(values: Tensor, share: float, where: Tensor) -> Tensor:
    """Compute the mean of the largest `share` of the values; it is differentiable and never waits for the device.

    A share that is not a whole number of values, such as 5.7 of 19, counts the sixth by 0.7.

    Args:
        values: (N,) float.
        share: in (0, 1]; 1 gives the mean.
        where: (N,) bool; entries that are False do not count.

    Returns:
        A scalar in the dtype of `values`; 0 with gradient 0 if nothing counts.
    """
    largest_first = values.masked_fill(~where, -math.inf).sort(descending=True).values
    count = share * where.sum().double()
    weights = (count - torch.arange(len(values), device=values.device)).clamp(0, 1)
    total = (torch.where(weights > 0, largest_first, 0) * weights).sum()
    return (total / torch.where(count > 0, count, 1)).to(values.dtype)
