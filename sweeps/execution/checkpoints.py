"""Where the checkpoints of trials are, and which of them are kept."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from sweeps.strategy.outcome import Outcome


def checkpoint_path(folder: str | Path, trial: int) -> Path:
    """The checkpoint of a trial below the folder `GroupSettings.checkpoints`."""
    return Path(folder) / f"trial-{trial:05d}.pt"


class CheckpointKeeper:
    """A `Listener` that deletes the checkpoints of ended trials, except those on the front: they may be large."""

    def __init__(self, folder: Path, outcome: "Outcome") -> None:
        self.folder, self.outcome = folder, outcome
        self.kept = {trial.number for trial in outcome.record.trials() if trial.state.is_finished()}

    def on_trial_start(self, number: int) -> None:
        pass

    def on_epoch(self, number: int) -> None:
        pass

    def on_trial_end(self, number: int) -> None:
        front = {point.trial.number for point in self.outcome.front()}
        for ended in (self.kept | {number}) - front:
            checkpoint_path(self.folder, ended).unlink(missing_ok=True)
        self.kept = front
