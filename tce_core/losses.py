"""The losses. `loss_table.py` gives each a name; `build_loss(name, **settings)` builds it.

A loss is a callable `(logits (B, K, H, W) float, labels (B, H, W) int64) -> scalar float32`. Every loss

- ignores pixels labelled `VOID`;
- is 0, never NaN, for a batch without a valid pixel;
- is the loss of the *global* batch under `torch.distributed`: all ranks get the same value, and the average of their
  gradients is the gradient of the global loss.

Equation numbers are those of arXiv 2103.14051.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import segmentation_models_pytorch as smp
import torch
from torch import Tensor

from tce_core import VOID
from tce_core.config import TrialConfig
from tce_core.distributed import gather_batch, global_mean, share_gradient
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES
from tce_core.pixel_losses import class_losses, pixel_losses, summed_loss
from tce_core.tilt import tilted_mean

Loss = Callable[[Tensor, Tensor], Tensor]


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
        weight = _weight_of_pixels(self.class_weights, logits, labels)
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
            focus = focus * _weight_of_pixels(self.class_weights, logits, labels)
        return global_mean((focus * pixels).sum(), (labels != VOID).sum())


@dataclass(frozen=True)
class ImageTilt:
    """Eq. (2): the tilted mean, over the images of the global batch, of the cross-entropy of each image.

    Images without a valid pixel do not count.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        valid = (labels != VOID).flatten(1).sum(1)  # (B,)
        losses = pixel_losses(logits, labels).flatten(1).sum(1) / valid.clamp(min=1)  # (B,)
        return share_gradient(tilted_mean(gather_batch(losses), self.t, where=gather_batch(valid) > 0))


@dataclass(frozen=True)
class ClassTilt:
    """Eq. (3): the tilted mean over the classes in each image, then the mean over images.

    The loss of a class is the mean over its pixels in the image. Absent classes and images without a valid pixel do
    not count.
    """

    t: float

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        sums, counts = class_losses(logits, labels)
        images = tilted_mean(sums / counts.clamp(min=1), self.t, where=counts > 0, dim=1)  # (B,)
        return global_mean(images.sum(), (counts.sum(1) > 0).sum())


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


def build_loss(name: str, **settings: object) -> Loss:
    """Build the loss called `name`.

    Args:
        name: a key of `LOSSES`.
        settings: the settings that its entry names, and `class_weights` (K floats) if the entry asks for them.

    Raises:
        UserError: the name is unknown, this loss does not have a setting, or a setting that it needs is missing.
    """
    if name not in LOSSES:
        raise UserError(f"unknown loss '{name}'; the losses are {', '.join(LOSSES)}")
    entry = LOSSES[name]
    known = (*entry.builder_settings, *(["class_weights"] if entry.class_weights else []))
    for key in settings:
        if key not in known:
            raise UserError(f"loss '{name}' has no setting '{key}'; it has {', '.join(known) or 'none'}")
    builder = globals()[entry.builder] if isinstance(entry.builder, str) else entry.builder
    try:
        loss: Loss = builder(**settings)
    except TypeError as error:
        raise UserError(f"loss '{name}': {error}; its builder takes the settings and returns the loss") from None
    return loss


def configured_loss(config: TrialConfig, pixel_counts: Tensor, t: float | None = None) -> Loss:
    """Build the loss of a configuration.

    Args:
        config: the name of the loss and its settings.
        pixel_counts: (K,) int64, pixels of each class in the training split; class weights are computed from them.
        t: the current tilt during a tilt warm-up. Default: the tilt of the configuration.

    Raises:
        UserError: see `build_loss`.
    """
    entry = LOSSES[config.loss]
    settings = {name: getattr(config, name) for name in entry.builder_settings}
    if "t" in settings and t is not None:
        settings["t"] = t
    if entry.class_weights:
        settings["class_weights"] = inverse_frequency_weights(pixel_counts, config.weight_power)
    return build_loss(config.loss, **settings)


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


def _weight_of_pixels(class_weights: tuple[float, ...], logits: Tensor, labels: Tensor) -> Tensor:
    """Return the weight of each pixel's class, (B, H, W) float32, 0 at void pixels."""
    if len(class_weights) != logits.shape[1]:
        raise ValueError(f"{len(class_weights)} class weights for {logits.shape[1]} classes")
    return _weight_table(class_weights, logits.device).index_select(0, labels.flatten()).view(labels.shape)


@functools.lru_cache(maxsize=8)
def _weight_table(class_weights: tuple[float, ...], device: torch.device) -> Tensor:
    """Return the weight of each id that a label can have, (256,) float32. It is copied to a GPU only once."""
    table = torch.zeros(VOID + 1, device=device)
    table[: len(class_weights)] = torch.tensor(class_weights, device=device)
    return table
