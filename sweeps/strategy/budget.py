"""The budget of a sweep: limits of epochs and hours, and patience. It is derived from the record."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from search_spaces.space import Space
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from tce_core.config import LATE_SETTINGS
from tce_core.errors import UserError


@dataclass(frozen=True)
class Limit:
    """A limit that the plan sets, such as 60 epochs."""

    amount: float
    unit: Literal["epochs", "hours"]

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


class Budget:
    """Compares what the sweep has spent with what its plan allows."""

    def __init__(self, record: Record, outcome: Outcome, plan: Plan | None = None) -> None:
        """`plan`: another plan than the record's."""
        self.record, self.outcome, self.plan = record, outcome, plan or record.plan
        events = [event for trial in record.trials() for event in (*trial.spent, trial.ended) if event is not None]
        self.seconds_before = max((event.seconds for event in events), default=0.0)
        # A monotonic clock: neither interruptions nor a changed wall clock count.
        self.started = time.monotonic()
        self._first_end: float | None = None
        """When the first epoch ended, once there are two; no later epoch changes it."""

    @property
    def seconds(self) -> float:
        """Running time over all processes of the sweep, as far as it is recorded."""
        return self.seconds_before + time.monotonic() - self.started

    def limit(self, committed: int) -> Limit | None:
        """The limit that leaves no room for one more epoch; None while there is room.

        Args:
            committed: epochs that are running or reserved.
        """
        plan = self.plan
        if plan.max_epochs is not None and self.record.epochs + committed >= plan.max_epochs:
            return Limit(plan.max_epochs, "epochs")
        if plan.max_hours is not None and self.seconds + committed * self._pace() >= 3600 * plan.max_hours:
            return Limit(plan.max_hours, "hours")
        return None

    def _pace(self) -> float:
        """Seconds per epoch, all slots together; 0 before the second epoch.

        It counts from the end of the first epoch: before that, the workers start. At that moment the epochs of the
        other slots are nearly finished, too.
        """
        if self.record.epochs < 2:
            return 0.0
        if self._first_end is None:
            self._first_end = min(trial.spent[0].seconds for trial in self.record.trials() if trial.spent)
        return (self.seconds - self._first_end) / (self.record.epochs - 1)

    def idle_epochs(self) -> int | None:
        """Search epochs since the front last grew, if they exceed the patience; None if the search may continue.

        Patience begins when the baselines have ended and there is a front.
        """
        patience = self.plan.patience
        baselines = [trial for trial in self.record.trials("baseline") if trial.retries is None]
        if patience is None or not all(trial.state.is_finished() for trial in baselines):
            return None
        if not self.record.candidates:
            return None
        since = max([self.outcome.last_growth(), *(trial.ended_at for trial in baselines)])
        if self.record.epochs - since < patience:  # not even if all of them were epochs of the search
            return None
        idle = sum(_epochs_after(trial, since) for trial in self.record.trials("search"))
        return idle if idle >= patience else None


def _epochs_after(trial: TrialRecord, moment: int) -> int:
    """How many epochs the trial trained after the sweep had spent `moment` epochs."""
    return sum(spent.epochs > moment for spent in trial.spent)


def full_budget(space: Space) -> int:
    """Return the epochs of a searched trial that is not stopped, without its trunk if all of them share it."""
    return _own_epochs(space, {}) if set(space.space) <= LATE_SETTINGS else space.config({}).epochs


def baseline_budgets(space: Space) -> dict[str, int]:
    """Return the epochs of each baseline, by its label: without the trunk that it shares."""
    return {label: _own_epochs(space, settings) for label, settings in space.baselines.items()}


def _own_epochs(space: Space, settings: Mapping[str, Any]) -> int:
    """The epochs that a trial trains itself. A setting that acts from the first step gives it a trunk of its own."""
    config = space.config(settings)
    return config.epochs - (config.trunk_epochs if config.plain == space.config({}).plain else 0)


def check_max_epochs(plan: Plan, space: Space) -> None:
    """Check that the baselines, the confirmation runs and one searched trial fit into the limit of epochs.

    Raises:
        UserError: they do not.
    """
    trunks, epochs = (plan.sure_seeds + 1) * space.config({}).trunk_epochs, full_budget(space)
    baselines, confirming = len(space.baselines), plan.confirmation_runs
    least = trunks + sum(baseline_budgets(space).values()) + (confirming + 1) * epochs
    plain = f", and {trunks} epochs of trunks," if trunks else ""
    if plan.max_epochs is not None and plan.max_epochs < least:
        raise UserError(
            f"--max-epochs {plan.max_epochs}: {baselines} baselines, {confirming} confirmation runs and one searched "
            f"configuration of {epochs} epochs{plain} need {least}; "
            "allow more, or lower --epochs or --confirm"
        )
