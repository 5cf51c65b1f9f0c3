"""When a sweep has spent enough: epochs, hours, or too long without getting better. Derived from the record."""

import time

import numpy as np

from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome, ended_at


class Budget:
    """What the sweep has spent, of what its plan allows."""

    def __init__(self, record: Record, outcome: Outcome) -> None:
        self.record, self.outcome, self.plan = record, outcome, record.plan
        # Interruptions do not count, and neither does what the clock on the wall shows.
        events = [event for trial in record.trials() for event in (*trial.spent, trial.ended) if event is not None]
        self.seconds_before = max((event.seconds for event in events), default=0.0)
        self.started = time.monotonic()

    @property
    def seconds(self) -> float:
        """At work, in this and earlier processes, as far as epochs and ends that were recorded have told."""
        return self.seconds_before + time.monotonic() - self.started

    def limit(self, committed: int) -> str | None:
        """What leaves no room for one epoch more, such as "60 epochs"; None while there is room.

        Args:
            committed: epochs that are under way or set aside.
        """
        if self.plan.max_epochs is not None and self.record.epochs + committed >= self.plan.max_epochs:
            return f"{self.plan.max_epochs} epochs"
        hours = self.plan.max_hours
        if hours is not None and self.seconds + committed * self._pace() >= 3600 * hours:
            return f"{hours:g} hours"
        return None

    def _pace(self) -> float:
        """Seconds an epoch takes, of all slots together; 0 until there are two.

        From the first epoch's end on: before that workers start, and when it ends other slots are about to end theirs.
        """
        if self.record.epochs < 2:
            return 0.0
        first = min(trial.spent[0].seconds for trial in self.record.trials() if trial.spent)
        return (self.seconds - first) / (self.record.epochs - 1)

    def stagnant(self) -> str | None:
        """Why no further trial is begun though there is budget; None while the front grows, or has yet to begin.

        What the baselines take is no search: patience begins when they have ended.
        """
        if self.plan.patience is None:
            return None
        baselines = self.record.trials("baseline")
        if not all(trial.state.is_finished() for trial in baselines) or not self.outcome.candidates():
            return None
        idle = self.record.epochs - max([self.last_growth(), *map(ended_at, baselines)])
        return f"no better front for {idle} epochs" if idle >= self.plan.patience else None

    def last_growth(self) -> int:
        """Epochs the sweep had spent when its front last grew; 0 when there is none."""
        trials, volumes = self.outcome.history(margin=1.0)
        grown = np.flatnonzero(np.diff([0.0, *volumes]) > 0)
        return ended_at(trials[grown[-1]]) if grown.size else 0
