"""The table of all losses that a configuration can name.

To add a loss, write it in a file of `losses/` and add an entry to `LOSSES`. Then `TrialConfig` accepts its name,
`build_loss` builds it, and a search space varies its settings only for this loss. A new setting also needs a new field
of `TrialConfig`.

This file does not import torch, so that a command can check a configuration without waiting for that import.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LossEntry:
    """How to build one loss, and which settings it has."""

    builder: str | Callable[..., Any]
    """The class or function that builds the loss from its settings: `file.name` in `tce_core/losses`, or a callable."""
    builder_settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that the builder takes as arguments of the same names."""
    class_weights: bool = False
    """Whether the builder also takes `class_weights`: inverse class frequencies to the power `weight_power`."""
    class_shares: bool = False
    """Whether the builder also takes `class_shares`: the share of each class in the training pixels."""
    sampler_settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that control which images are drawn. Empty: every image once per epoch, shuffled."""
    idle_settings: Mapping[str, Mapping[str, tuple[object, ...]]] = field(default_factory=dict)
    """Own settings that change nothing at some values of another one: {setting: {the other: those values}}."""

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the builder takes."""
        weights = ("class_weights",) if self.class_weights else ()
        shares = ("class_shares",) if self.class_shares else ()
        return (*self.builder_settings, *weights, *shares)

    @property
    def own_settings(self) -> frozenset[str]:
        """Keys of `TrialConfig` that affect this loss but not every loss."""
        weights = {"weight_power"} if self.class_weights else set()
        tilt = {"tilt_warmup"} if "t" in (*self.builder_settings, *self.sampler_settings) else set()
        return frozenset({*self.builder_settings, *self.sampler_settings, *weights, *tilt})

    @property
    def tilted(self) -> bool:
        """Whether this loss depends on the tilt t."""
        return "t" in self.own_settings


LOSSES: dict[str, LossEntry] = {
    "mcce": LossEntry("by_pixel.CrossEntropy"),
    "weighted_ce": LossEntry("by_pixel.WeightedCrossEntropy", class_weights=True),
    "focal": LossEntry("by_pixel.Focal", ("focal_gamma",), class_weights=True),
    "ohem": LossEntry("by_pixel.HardPixels", ("hard_share",)),
    "logit_adjusted": LossEntry("by_pixel.LogitAdjusted", ("tau",), class_shares=True),
    "logit_variation": LossEntry("by_pixel.LogitVariation", ("variation",), class_shares=True),
    "balanced_ce": LossEntry("by_class.BalancedCrossEntropy"),
    "class_cvar": LossEntry("by_class.WorstClasses", ("worst_share",)),
    "recall_ce": LossEntry("by_class.RecallCrossEntropy"),
    "dice": LossEntry("region.dice_loss"),
    "jaccard": LossEntry("region.jaccard_loss"),
    "lovasz": LossEntry("region.lovasz_loss"),
    "tversky": LossEntry("region.tversky_loss", ("tversky_alpha", "tversky_beta")),
    "ce_dice": LossEntry("region.ce_dice", ("region_weight",)),
    "ce_jaccard": LossEntry("region.ce_jaccard", ("region_weight",)),
    "image_tilt": LossEntry("tilted.ImageTilt", ("t",)),
    "class_tilt": LossEntry(
        "tilted.class_tilt", ("t", "over", "gamma"), idle_settings={"gamma": {"over": ("image", "batch")}}
    ),
    # Stochastic TCE tilts the draws (`stochastic.py`); the loss of the drawn images is Eq. (1).
    "stochastic_tilt": LossEntry(
        "by_pixel.CrossEntropy",
        sampler_settings=("t", "gamma", "level", "draw", "estimator", "partition", "lookahead"),
    ),
}


FOCUS_SETTINGS = ("focus_share", "focus_temperature")
"""Keys of `TrialConfig` that control the draws of every loss without `sampler_settings`."""


def losses_with(setting: str) -> tuple[str, ...]:
    """Return the losses that have `setting`; empty for settings that all losses have, such as `lr`."""
    if setting in FOCUS_SETTINGS:
        return tuple(name for name, entry in LOSSES.items() if not entry.sampler_settings)
    return tuple(name for name, entry in LOSSES.items() if setting in entry.own_settings)


def idle_at(setting: str, losses: Iterable[str]) -> dict[str, tuple[object, ...]]:
    """Return the values of other settings of `losses` at which `setting` changes nothing, by the other's name."""
    found: dict[str, tuple[object, ...]] = {}
    for loss in losses:
        found |= LOSSES[loss].idle_settings.get(setting, {})
    return found
