"""The losses. `loss_table.py` gives each its name; `build_loss(name, **settings)` makes it.

Every loss is a callable `(logits (B, K, H, W) float, labels (B, H, W) int64) -> scalar float32`, skips pixels
labelled `VOID`, gives 0 (never NaN) for a batch without a valid pixel, and under `torch.distributed` is the loss of
the *global* batch: the same value on every rank, and gradients whose average over ranks is the global gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor

from tce_core import VOID
from tce_core.config import TrialConfig
from tce_core.distributed import gather_batch, global_mean, share_gradient
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES
from tce_core.tilt import tilted_mean

Loss = Callable[[Tensor, Tensor], Tensor]


def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each pixel, (B, H, W) float32, 0 at void pixels."""
    return F.cross_entropy(logits.float(), labels, ignore_index=VOID, reduction="none")


def class_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each image's cross-entropy by class: sums (B, K) float32 and pixel counts (B, K) int64."""
    pixels = pixel_losses(logits, labels).flatten(1)
    flat = labels.flatten(1)
    valid = flat != VOID
    index = torch.where(valid, flat, 0)  # void pixels carry loss 0 and count 0, so they may go anywhere
    sums = torch.zeros(logits.shape[:2], device=logits.device).scatter_add(1, index, pixels)
    counts = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device).scatter_add(1, index, valid.long())
    return sums, counts


@dataclass(frozen=True)
class CrossEntropy:
    """MCCE, Eq. (1): the mean over valid pixels; equals `F.cross_entropy(..., ignore_index=VOID)`."""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        return global_mean(pixel_losses(logits, labels).sum(), (labels != VOID).sum())


@dataclass(frozen=True)
class WeightedCrossEntropy:
    """Equals `F.cross_entropy(..., weight=class_weights)`: the weights' own sum is the denominator."""

    class_weights: tuple[float, ...]

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        weight = _weight_of_pixels(self.class_weights, logits, labels)
        total = (weight * pixel_losses(logits, labels)).sum()
        return global_mean(total, weight.sum())


@dataclass(frozen=True)
class Focal:
    """Softmax focal loss: the mean over valid pixels of alpha_y (1 - p_y)^gamma (-log p_y). gamma 0, alpha 1: MCCE."""

    class_weights: tuple[float, ...] | None = None
    focal_gamma: float = 2.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        pixels = pixel_losses(logits, labels)
        # 1 - p = -expm1(-ce); the clamp keeps the power's gradient finite where p rounds to 1.
        focus = (-torch.expm1(-pixels)).clamp(min=1e-12) ** self.focal_gamma
        if self.class_weights is not None:
            focus = focus * _weight_of_pixels(self.class_weights, logits, labels)
        return global_mean((focus * pixels).sum(), (labels != VOID).sum())


@dataclass(frozen=True)
class ImageTilt:
    """Eq. (2): the tilted mean over the images of the global batch of each image's cross-entropy.

    An image without a valid pixel does not count.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = (labels != VOID).flatten(1).sum(1)  # (B,)
        losses = pixel_losses(logits, labels).flatten(1).sum(1) / valid.clamp(min=1)  # (B,)
        return share_gradient(tilted_mean(gather_batch(losses), self.t, where=gather_batch(valid) > 0))


@dataclass(frozen=True)
class ClassTilt:
    """Eq. (3): in each image the tilted mean over the classes it shows, then the mean over images.

    A class's loss is the mean over its pixels; absent classes are left out, and so are images without a valid pixel.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums, counts = class_losses(logits, labels)
        images = tilted_mean(sums / counts.clamp(min=1), self.t, where=counts > 0, dim=1)  # (B,)
        return global_mean(images.sum(), (counts.sum(1) > 0).sum())


@dataclass(frozen=True)
class Overlap:
    """A region loss of smp over the global batch. Its sums (Lovasz: its sorting) need every rank's logits."""

    loss: torch.nn.Module

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        labels = gather_batch(labels)
        logits = gather_batch(logits.float())
        if not (labels != VOID).any():
            return logits.sum() * 0.0
        return share_gradient(self.loss(logits, labels))


def dice_loss() -> Loss:
    return Overlap(smp.losses.DiceLoss("multiclass", ignore_index=VOID))


def jaccard_loss() -> Loss:
    return Overlap(smp.losses.JaccardLoss("multiclass", ignore_index=VOID))


def lovasz_loss() -> Loss:
    return Overlap(smp.losses.LovaszLoss("multiclass", ignore_index=VOID))


def tversky_loss(tversky_alpha: float = 0.3, tversky_beta: float = 0.7) -> Loss:
    return Overlap(smp.losses.TverskyLoss("multiclass", ignore_index=VOID, alpha=tversky_alpha, beta=tversky_beta))


def build_loss(name: str, **settings: object) -> Loss:
    """The loss called `name`.

    Args:
        name: a key of `LOSSES`.
        settings: those that its entry names, and `class_weights` (K floats) where the entry asks for them.

    Raises:
        UserError: an unknown name, a setting that this loss does not have, or one that it needs and lacks.
    """
    if name not in LOSSES:
        raise UserError(f"unknown loss '{name}'; the losses are {', '.join(LOSSES)}")
    entry = LOSSES[name]
    known = (*entry.settings, *(["class_weights"] if entry.class_weights else []))
    for key in settings:
        if key not in known:
            raise UserError(f"loss '{name}' has no setting '{key}'; it has {', '.join(known) or 'none'}")
    builder = globals()[entry.builder] if isinstance(entry.builder, str) else entry.builder
    try:
        loss: Loss = builder(**settings)
    except TypeError as error:
        raise UserError(f"loss '{name}': {error}") from None
    return loss


def configured_loss(config: TrialConfig, pixel_counts: Tensor, t: float | None = None) -> Loss:
    """The loss of a configuration.

    Args:
        config: names the loss and holds its settings.
        pixel_counts: (K,) int64, pixels of each class in the training split; class weights come from them.
        t: the tilt at this moment of a tilt warm-up. Default: the configuration's.

    Raises:
        UserError: as `build_loss`.
    """
    entry = LOSSES[config.loss]
    settings = {name: getattr(config, name) for name in entry.settings}
    if "t" in settings and t is not None:
        settings["t"] = t
    if entry.class_weights:
        settings["class_weights"] = inverse_frequency_weights(pixel_counts, config.weight_power)
    return build_loss(config.loss, **settings)


def inverse_frequency_weights(pixel_counts: Tensor, power: float = 1.0) -> tuple[float, ...]:
    """Class weights (pixel count) ** -power, normalised to mean 1 over the classes that occur.

    `pixel_counts` is (K,) int64; a class without a pixel gets weight 0, since no pixel can ever ask for it.
    """
    counts = pixel_counts.double()
    present = counts > 0
    weights = torch.where(present, counts.clamp(min=1) ** -power, 0)
    return tuple((weights / weights.sum() * present.sum()).tolist())


def _weight_of_pixels(class_weights: tuple[float, ...], logits: Tensor, labels: Tensor) -> Tensor:
    """The weight of each pixel's class, (B, H, W) float32, 0 at void."""
    if len(class_weights) != logits.shape[1]:
        raise ValueError(f"{len(class_weights)} class weights for {logits.shape[1]} classes")
    weights = torch.tensor(class_weights, dtype=torch.float32, device=logits.device)
    valid = labels != VOID
    return torch.where(valid, weights[torch.where(valid, labels, 0)], 0)
