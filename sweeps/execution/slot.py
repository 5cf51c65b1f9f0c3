"""Warm trial slots: Tune actors that pass one trial after the other to a group of workers that is already running.

The usual pattern builds a `TorchTrainer` per trial: each time it starts processes and imports torch. Here the driver
keeps as many worker groups as there are slots. Tune's `step()` means "bring this trial to its next epoch". A trial is
stopped by not asking for another epoch.
"""

from dataclasses import replace
from typing import Any

from ray import tune

from sweeps.execution.mailbox import Order
from sweeps.execution.worker_group import answer_to


class Slot(tune.Trainable):
    """A Tune trainable. Its config holds `mailbox` (of the trial's worker group) and `order`, its first one.

    A result is an `Answer` as a dict. The slot does not decide whether a trial continues: see `HalvingScheduler`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the slot's next trial. Returns True: the actor may be reused."""
        self.mailbox, self.order = new_config["mailbox"], Order(**new_config["order"])
        return True

    def step(self) -> dict[str, Any]:
        answer = answer_to(self.mailbox, self.order)
        if answer.result is not None:
            self.order = replace(self.order, epoch=self.order.epoch + 1)
        return answer.as_dict()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing, although Tune asks when a trial ends: workers write a checkpoint after every epoch."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: workers load the trial's checkpoint."""
