"""Run a search in simulated time on learning curves that are known in full."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lcbench import EPOCHS, Floats


@dataclass
class Running:
    """A running trial. The search has seen its curve up to `epoch`."""

    handle: Any
    """What identifies the trial for its method."""
    curve: Floats
    """(52, 2) both objectives after each epoch; lower is better."""
    epoch: int = 0


def events(method: Any, slots: int, budget: int) -> Iterator[tuple[int, bool, Floats]]:
    """Run a method in simulated time; every epoch takes the same time.

    Args:
        method: has `begin() -> Running` and `goes_on(Running) -> bool`; see `methods.Ours`.
        slots: trials at a time.
        budget: epochs of all trials together.

    Yields:
        After each epoch: the epochs spent so far by all trials together, whether the trial of this epoch is fully
        trained, and its objectives (2,).
    """
    running: list[Running] = []
    spent = 0
    while True:
        for place in range(slots):
            if spent == budget:
                return
            if place == len(running):
                running.append(method.begin())
            trial = running[place]
            trial.epoch += 1
            spent += 1
            yield spent, trial.epoch == EPOCHS, trial.curve[trial.epoch - 1]
            if not method.goes_on(trial):
                running[place] = method.begin()
