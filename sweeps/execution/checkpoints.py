"""Where the checkpoints of trials are, and which of them are kept."""

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from sweeps.strategy.outcome import Outcome


def checkpoint_path(folder: str | Path, trial: int) -> Path:
    """The checkpoint of a trial below the folder `GroupSettings.checkpoints`."""
    return Path(folder) / f"trial-{trial:05d}.pt"


def is_whole(path: Path) -> bool:
    """Whether a checkpoint exists and its checksums are right. Torch, whose import takes seconds, is not needed."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


class CheckpointKeeper:
    """A `Listener` that deletes the checkpoints of ended trials, except of trunks, the front and the reference."""

    def __init__(self, folder: Path, outcome: "Outcome") -> None:
        self.folder, self.outcome = folder, outcome
        ended = [trial for trial in outcome.record.trials() if trial.state.is_finished()]
        self.kept = {trial.number for trial in ended if trial.role != "trunk"}

    def on_trial_start(self, number: int) -> None:
        pass

    def on_epoch(self, number: int) -> None:
        pass

    def on_trial_end(self, number: int) -> None:
        if self.outcome.record[number].role == "trunk":  # trials to come begin with it
            return
        wanted = self._wanted()
        for ended in (self.kept | {number}) - wanted:
            checkpoint_path(self.folder, ended).unlink(missing_ok=True)
        self.kept = wanted

    def _wanted(self) -> set[int]:
        """The trials of the front, and the reference beside which a report shows them."""
        front = {point.trial.number for point in self.outcome.front()}
        reference = self.outcome.reference()
        return front | ({reference.number} if reference is not None else set())

    def sweep_ended(self) -> None:
        """Delete the checkpoints of trunks."""
        for trunk in self.outcome.record.trials("trunk"):
            checkpoint_path(self.folder, trunk.number).unlink(missing_ok=True)
