"""Losses of the classes of the global batch: the mean of every class counts, however few pixels it has."""

from dataclasses import dataclass

from torch import Tensor

from tce_core.argmax import most_likely
from tce_core.distributed import global_mean, global_sum
from tce_core.pixel_losses import class_losses, sums_by_class
from tce_core.tilt import tilted_mean
from tce_core.worst import mean_of_worst


def batch_class_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean cross-entropy of the pixels of each class in the global batch.

    Every differentiable function of it is a loss of the global batch, with the gradient that DDP needs.

    Args:
        logits: (B / world, K, H, W) float, this rank's share.
        labels: (B / world, H, W) int64.

    Returns:
        Losses (K,) float32, 0 for an absent class, and which classes are present, (K,) bool. Both are the same on
        every rank.
    """
    sums, counts = class_losses(logits, labels)
    counts = counts.sum(0)
    return global_mean(sums.sum(0), counts), global_sum(counts) > 0


@dataclass(frozen=True)
class BalancedCrossEntropy:
    """The mean over the classes of the global batch of each class's mean cross-entropy."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses, present = batch_class_losses(logits, labels)
        return tilted_mean(losses, 0.0, where=present)


@dataclass(frozen=True)
class WorstClasses:
    """Conditional value at risk over classes: the mean of the `worst_share` of class losses that are the largest.

    The classes are those of the global batch. Of 19 classes, a share of 0.3 is the worst five and 0.7 of the sixth.
    `worst_share` 1 is balanced cross-entropy; a share of at most one class is the maximum. After the label CVaR of
    arXiv 2005.12914, with equal weights of the classes present.
    """

    worst_share: float = 0.3

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses, present = batch_class_losses(logits, labels)
        return mean_of_worst(losses, self.worst_share, present)


@dataclass(frozen=True)
class RecallCrossEntropy:
    """Recall loss (arXiv 2106.14917): the mean over valid pixels of (1 - recall of the pixel's class) x cross-entropy.

    The recall is that of the model's own predictions on the global batch, and it has no gradient. A class that the
    batch recognises completely adds nothing.
    """

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums, counts = class_losses(logits, labels)
        missed = sums_by_class((most_likely(logits.detach()) != labels).int(), labels, logits.shape[1])
        miss_rate = global_mean(missed.sum(0), counts.sum(0))  # (K,): 1 - recall
        return global_mean((miss_rate * sums.sum(0)).sum(), counts.sum())
