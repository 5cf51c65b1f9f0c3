"""Losses that are a mean over pixels: plain, weighted, focal and hard-pixel cross-entropy, and changed logits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tce_core import VOID
from tce_core.class_weights import log_shares, weight_of_pixels
from tce_core.distributed import gather_batch, global_mean, share_gradient
from tce_core.pixel_losses import pixel_losses, precise, summed_loss
from tce_core.worst import mean_of_worst


def mean_loss(sums: Tensor, counts: Tensor) -> Tensor:
    """Compute MCCE, Eq. (1), from the sums and counts that Algorithm 1 learns from, without a second pass over pixels.

    Args:
        sums: (B, K) float32, see `class_losses`.
        counts: (B, K) int64.

    Returns:
        The loss of `CrossEntropy`, with the same gradient to the last bit; its value is rounded in another order.
    """
    return global_mean(sums.sum(), counts.sum())


@dataclass(frozen=True)
class CrossEntropy:
    """MCCE, Eq. (1): the mean over valid pixels. It equals `F.cross_entropy(..., ignore_index=VOID)`."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return global_mean(summed_loss(logits, labels), (labels != VOID).sum())


@dataclass(frozen=True)
class WeightedCrossEntropy:
    """Weighted cross-entropy: the weighted sum over valid pixels / the sum of their weights.

    It equals `F.cross_entropy(..., weight=class_weights, ignore_index=VOID)`.
    """

    class_weights: tuple[float, ...]

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        weight = weight_of_pixels(self.class_weights, logits, labels)
        total = (weight * pixel_losses(logits, labels)).sum()
        return global_mean(total, weight.sum())


@dataclass(frozen=True)
class Focal:
    """Softmax focal loss: the mean over valid pixels of alpha_y (1 - p_y)^gamma (-log p_y).

    alpha is `class_weights` (None: 1) and gamma is `focal_gamma`. With alpha 1 and gamma 0 it is MCCE.
    """

    class_weights: tuple[float, ...] | None = None
    focal_gamma: float = 2.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        pixels = pixel_losses(logits, labels)
        # 1 - p = -expm1(-ce). The clamp keeps the gradient of the power finite where p rounds to 1.
        focus = (-torch.expm1(-pixels)).clamp(min=1e-12) ** self.focal_gamma
        if self.class_weights is not None:
            focus = focus * weight_of_pixels(self.class_weights, logits, labels)
        return global_mean((focus * pixels).sum(), (labels != VOID).sum())


@dataclass(frozen=True)
class HardPixels:
    """Online hard example mining: the mean over the `hard_share` of valid pixels with the largest cross-entropy.

    The pixels are those of the global batch, so the losses of all pixels are gathered. A fraction of a pixel counts
    by its fraction. `hard_share` 1 is MCCE. arXiv 1604.03540 selects regions in this way; here it is pixels.
    """

    hard_share: float = 0.25

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses, valid = gather_batch(pixel_losses(logits, labels)), gather_batch(labels != VOID)
        return share_gradient(mean_of_worst(losses.flatten(), self.hard_share, valid.flatten()))


@dataclass(frozen=True)
class LogitAdjusted:
    """Logit-adjusted cross-entropy (arXiv 2007.07314, the form for training): MCCE of logits + tau log(class share).

    The model must exceed the head start of the frequent classes. Its own logits, without the adjustment, then fit
    balanced classes. `tau` 0 is MCCE.
    """

    class_shares: tuple[float, ...]
    tau: float = 1.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        adjusted = logits.to(precise(logits)) + self.tau * log_shares(self.class_shares, logits)
        return CrossEntropy()(adjusted, labels)


@dataclass(frozen=True)
class LogitVariation:
    """Balancing logit variation (arXiv 2306.02061): MCCE of logits plus noise that is larger for rare classes.

    The noise is |N(0, variation^2)|, cut at 1 as in the authors' code, times c / max c with
    c = log(1 / share of the class). It comes from torch's global generator, which a run seeds by epoch and rank.
    `variation` 0 is MCCE.
    """

    class_shares: tuple[float, ...]
    variation: float = 4.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        rarity = -log_shares(self.class_shares, logits)
        scale = rarity / rarity.max().clamp(min=torch.finfo(rarity.dtype).tiny)  # of a single class: 0
        noise = torch.randn(logits.shape, dtype=precise(logits), device=logits.device)
        noise = noise.mul_(self.variation).abs_().clamp_(max=1).mul_(scale)
        return CrossEntropy()(logits + noise, labels)
