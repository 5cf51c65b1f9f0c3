"""Every loss that a configuration can name, declared once: its settings and what builds it.

To add a loss, write it in `losses.py` and add a line here. `TrialConfig` then accepts its name, `build_loss` makes
it, and a search space searches its settings only for it. A new setting is also a new field of `TrialConfig`.

This file does not import torch, so that a command line can check a configuration at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LossEntry:
    """One loss."""

    builder: str | Callable[..., Any]
    """The class or function that makes the loss from its settings: a name in `tce_core.losses`, or a callable."""
    settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that the builder takes, by the same names."""
    class_weights: bool = False
    """The builder also takes `class_weights`: inverse class frequencies to the power `weight_power`."""
    draw_settings: tuple[str, ...] = ()
    """Keys of `TrialConfig` that decide which images are drawn; empty: every image once per epoch, shuffled."""

    @property
    def own_settings(self) -> frozenset[str]:
        """Keys of `TrialConfig` that matter for this loss and not for every loss."""
        weights = {"weight_power"} if self.class_weights else set()
        tilt = {"tilt_warmup"} if "t" in (*self.settings, *self.draw_settings) else set()
        return frozenset({*self.settings, *self.draw_settings, *weights, *tilt})

    @property
    def tilted(self) -> bool:
        """Whether the tilt t has a meaning for this loss."""
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
    # Stochastic TCE tilts by what it draws (`stochastic.py`); the loss of the drawn images is Eq. (1).
    "stochastic_tilt": LossEntry(
        "CrossEntropy", draw_settings=("t", "gamma", "level", "draw", "estimator", "partition")
    ),
}


def losses_with(setting: str) -> tuple[str, ...]:
    """The losses for which a key of `TrialConfig` matters; empty if it is no loss's own, such as `lr`."""
    return tuple(name for name, entry in LOSSES.items() if setting in entry.own_settings)
