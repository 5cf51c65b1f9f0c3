"""Warm trial slots: Tune actors that pass one trial after the other to a group of workers that is already running.

The usual pattern builds a `TorchTrainer` per trial: each time it starts processes and imports torch. Here the driver
keeps as many worker groups as there are slots. Tune's `step()` means "bring this trial to its next epoch". A trial is
stopped by not asking for another epoch.
"""

from typing import Any

from ray import tune

from sweeps.execution.mailbox import Order
from sweeps.execution.worker_group import answer_to


class Slot(tune.Trainable):
    """A Tune trainable. Its config holds `mailbox` (of the trial's worker group), `number`, `trial` (a TrialConfig as a
    dict) and `epoch` (the epochs already done).

    A result is an `Answer` as a dict. The slot does not decide whether a trial continues: see `HalvingScheduler`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the slot's next trial. Returns True: the actor may be reused."""
        self.mailbox, self.epoch = new_config["mailbox"], new_config["epoch"]
        self.number, self.trial = new_config["number"], new_config["trial"]
        return True

    def step(self) -> dict[str, Any]:
        answer = answer_to(self.mailbox, Order(0, self.number, self.trial, self.epoch + 1))
        self.epoch += answer.result is not None
        return answer.as_dict()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing, although Tune asks when a trial ends: workers write a checkpoint after every epoch."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: workers load the trial's checkpoint."""
