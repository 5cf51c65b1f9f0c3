"""Region losses: they compare the area of each class with the truth, over the global batch."""

from dataclasses import dataclass

import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from tce_core import VOID
from tce_core.distributed import gather_batch, global_sum, global_total, share_gradient
from tce_core.losses.build import Loss
from tce_core.losses.by_pixel import CrossEntropy
from tce_core.pixel_losses import precise
from tce_core.tilt import tilted_mean


@dataclass(frozen=True)
class Overlap:
    """A region loss of smp over the global batch. Its sums (for Lovasz, its sorting) need the logits of all ranks."""

    loss: torch.nn.Module

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = gather_batch(labels)
        logits = gather_batch(logits.float())
        if not (labels != VOID).any():
            return logits.sum() * 0.0
        return share_gradient(self.loss(logits, labels))


def dice_loss() -> Loss:
    """Return the Dice loss of smp."""
    return Overlap(smp.losses.DiceLoss("multiclass", ignore_index=VOID))


def jaccard_loss() -> Loss:
    """Return the Jaccard loss of smp."""
    return Overlap(smp.losses.JaccardLoss("multiclass", ignore_index=VOID))


def lovasz_loss() -> Loss:
    """Return the Lovasz-softmax loss of smp."""
    return Overlap(smp.losses.LovaszLoss("multiclass", ignore_index=VOID))


def tversky_loss(tversky_alpha: float = 0.3, tversky_beta: float = 0.7) -> Loss:
    """Return the Tversky loss of smp."""
    return Overlap(smp.losses.TverskyLoss("multiclass", ignore_index=VOID, alpha=tversky_alpha, beta=tversky_beta))


@dataclass(frozen=True)
class JaccardMetric:
    """The Jaccard metric loss (arXiv 2302.05666; over the data set's classes, mIoU^D, arXiv 2310.19252).

    For the probabilities x and the one-hot truth y of one class, with L1 norms over the valid pixels of the global
    batch, it is 1 - (|x| + |y| - |x - y|) / (|x| + |y| + |x - y|). For such y, |x - y| = |x| + |y| - 2 x.y, so it is
    1 - x.y / (|x| + |y| - x.y). The loss is the mean over the classes present; that of smp divides by all K classes.
    """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        truth = labels.unsqueeze(1) == torch.arange(logits.shape[1], device=labels.device).view(-1, 1, 1)
        probabilities = torch.softmax(logits, 1, dtype=precise(logits)) * (labels != VOID).unsqueeze(1)
        areas = (0, 2, 3)
        predicted, both = global_total(torch.stack([probabilities.sum(areas), (probabilities * truth).sum(areas)]))
        pixels = global_sum(truth.sum(areas))  # (K,)
        union = predicted + pixels - both
        losses = 1 - both / torch.where(pixels > 0, union, 1)
        return tilted_mean(losses, 0.0, where=pixels > 0)


@dataclass(frozen=True)
class WithCrossEntropy:
    """MCCE + region_weight x a region loss."""

    region: Loss
    region_weight: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return CrossEntropy()(logits, labels) + self.region_weight * self.region(logits, labels)


def ce_dice(region_weight: float = 1.0) -> Loss:
    """Return MCCE + region_weight x the Dice loss of smp."""
    return WithCrossEntropy(dice_loss(), region_weight)


def ce_jaccard(region_weight: float = 1.0) -> Loss:
    """Return MCCE + region_weight x the Jaccard metric loss."""
    return WithCrossEntropy(JaccardMetric(), region_weight)
