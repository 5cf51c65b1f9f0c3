"""Warm trial slots: Tune actors that keep their Ray Train workers from one trial to the next.

The usual pattern builds a `TorchTrainer` per trial: 20 seconds of starting processes and importing torch, each time.
Here a *slot*, one reused Tune actor, owns one `WorkerGroup`. Tune's `step()` becomes "bring this trial to its next
epoch", and stopping a trial is not asking for another.
"""

from typing import Any

from ray import tune

from sweeps.execution.worker_group import WorkerGroup


class Slot(tune.Trainable):
    """Tune's config: `group` (GroupSettings), `number`, `trial` (a TrialConfig as a dict) and `epoch` (those done).

    A result has `seconds` and what `WorkerGroup.advance` answers. Whether the trial goes on is not
    the slot's to say: see `halving`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self.group = WorkerGroup(config["group"])
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The slot's next trial. True: the actor may be reused."""
        self.number, self.trial, self.epoch = new_config["number"], new_config["trial"], new_config["epoch"]
        return True

    def step(self) -> dict[str, Any]:
        answer = self.group.advance(self.number, self.trial, self.epoch + 1)
        self.epoch += "result" in answer
        return answer

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune asks when a trial ends. Nothing to save: workers write the trial's checkpoint after every epoch."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load, for the same reason."""

    def cleanup(self) -> None:
        self.group.close()
