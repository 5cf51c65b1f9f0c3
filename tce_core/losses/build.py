"""Build a loss from its name and settings, or from a configuration and the training split."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from tce_core.adjust import class_shares
from tce_core.class_weights import inverse_frequency_weights
from tce_core.config import TrialConfig
from tce_core.errors import UserError
from tce_core.loss_table import LOSSES, LossEntry
from tce_core.running import State

Loss = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Tilted(Protocol):
    """A loss whose tilt can change during the training."""

    t: float


@runtime_checkable
class Stateful(Protocol):
    """A loss that remembers earlier batches."""

    def state_dict(self) -> State:
        """Return everything that it remembers."""

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore what `state_dict` returned."""


def build_loss(name: str, **settings: object) -> Loss:
    """Build the loss called `name`.

    Args:
        name: a key of `LOSSES`.
        settings: the settings that its entry names, and `class_weights` or `class_shares` (K floats) if the entry
            asks for them.

    Raises:
        UserError: the name is unknown, this loss does not have a setting, or a setting that it needs is missing.
    """
    if name not in LOSSES:
        raise UserError(f"unknown loss '{name}'; the losses are {', '.join(LOSSES)}")
    entry = LOSSES[name]
    for key in settings:
        if key not in entry.arguments:
            raise UserError(f"loss '{name}' has no setting '{key}'; it has {', '.join(entry.arguments) or 'none'}")
    try:
        loss: Loss = find_builder(entry)(**settings)
    except TypeError as error:
        raise UserError(f"loss '{name}': {error}; its builder takes the settings and returns the loss") from None
    return loss


def find_builder(entry: LossEntry) -> Callable[..., Any]:
    """Return the class or function that an entry of the table names."""
    if not isinstance(entry.builder, str):
        return entry.builder
    file, name = entry.builder.split(".")
    builder: Callable[..., Any] = getattr(import_module(f"tce_core.losses.{file}"), name)
    return builder


def configured_loss(config: TrialConfig, pixel_counts: Tensor) -> Loss:
    """Build the loss of a configuration.

    Args:
        config: the name of the loss and its settings.
        pixel_counts: (K,) int64, pixels of each class in the training split; class weights and shares are computed
            from them.

    Raises:
        UserError: see `build_loss`; or the configuration warms up a tilt that this loss cannot change.
    """
    entry = LOSSES[config.loss]
    settings = {name: getattr(config, name) for name in entry.builder_settings}
    if entry.class_weights:
        settings["class_weights"] = inverse_frequency_weights(pixel_counts, config.weight_power)
    if entry.class_shares:
        settings["class_shares"] = tuple(class_shares(pixel_counts).tolist())
    loss = build_loss(config.loss, **settings)
    if config.tilt_warmup and "t" in settings and not _takes_t(loss, config.t):
        raise UserError(f"loss '{config.loss}' needs an attribute t that tilt_warmup can set; it must not be frozen")
    return loss


def _takes_t(loss: Loss, t: float) -> bool:
    if not isinstance(loss, Tilted):
        return False
    try:
        loss.t = t
    except AttributeError:  # a frozen dataclass
        return False
    return True
