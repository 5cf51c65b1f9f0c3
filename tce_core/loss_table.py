"""The table of all losses that a configuration can name.

To add a loss, write it in `losses.py` and add an entry to `LOSSES`. Then `TrialConfig` accepts its name, `build_loss`
builds it, and a search space varies its settings only for this loss. A new setting also needs a new field of
`TrialConfig`.

This file does not import torch, so that a command can check a configuration without waiting for that import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LossEntry:
    """How to build one loss, and which settings it has."""

    builder: str | Callable[..., Any]
    """The class or function that builds the loss from its settings: a name in `tce_core.losses`, or a callable."""
    builder_settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that the builder takes as arguments of the same names."""
    class_weights: bool = False
    """Whether the builder also takes `class_weights`: inverse class frequencies to the power `weight_power`."""
    sampler_settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that control which images are drawn. Empty: every image once per epoch, shuffled."""

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
    "mcce": LossEntry("CrossEntropy"),
    "weighted_ce": LossEntry("WeightedCrossEntropy", class_weights=True),
    "focal": LossEntry("Focal", ("focal_gamma",), class_weights=True),
    "dice": LossEntry("dice_loss"),
    "jaccard": LossEntry("jaccard_loss"),
    "lovasz": LossEntry("lovasz_loss"),
    "tversky": LossEntry("tversky_loss", ("tversky_alpha", "tversky_beta")),
    "image_tilt": LossEntry("ImageTilt", ("t",)),
    "class_tilt": LossEntry("ClassTilt", ("t",)),
    # Stochastic TCE tilts the draws (`stochastic.py`); the loss of the drawn images is Eq. (1).
    "stochastic_tilt": LossEntry(
        "CrossEntropy", sampler_settings=("t", "gamma", "level", "draw", "estimator", "partition", "lookahead")
    ),
}


def losses_with(setting: str) -> tuple[str, ...]:
    """Return the losses that have `setting` as a setting of their own; empty for common settings, such as `lr`."""
    return tuple(name for name, entry in LOSSES.items() if setting in entry.own_settings)
