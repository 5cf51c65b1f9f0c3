"""Train a part of a model and freeze the rest: the parameters and the BatchNorm statistics of frozen parts stay.

A frozen encoder's forward pass records nothing for the backward pass, because no input of it needs a gradient. Its
features are not kept from step to step: random crops and colours change them at every step.
"""

from collections.abc import Iterator
from typing import Literal

from torch import nn

Trained = Literal["all", "decoder", "head", "nothing"]
FROZEN: dict[Trained, tuple[str, ...]] = {
    "all": (),
    "decoder": ("encoder",),
    "head": ("encoder", "decoder"),
    "nothing": (),  # it takes no step
}
"""The submodules that are frozen, by what is trained."""


def frozen_parts(model: nn.Module, trained: Trained) -> Iterator[nn.Module]:
    """Yield the frozen submodules of a model of smp."""
    return map(model.get_submodule, FROZEN[trained])


def freeze(model: nn.Module, trained: Trained) -> None:
    """Let no gradient be computed for the frozen parts. Call it before an optimiser or DDP takes the parameters."""
    for part in frozen_parts(model, trained):
        part.requires_grad_(False)


def training_mode(model: nn.Module, trained: Trained) -> None:
    """Put the trained parts into training mode and the frozen ones into evaluation mode, without dropout."""
    model.train()
    for part in frozen_parts(model, trained):
        part.eval()
