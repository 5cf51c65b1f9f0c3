"""All trials of a sweep in memory, by number, role and state."""

import bisect
from typing import get_args

from sweeps.storage.trial import Role, TrialRecord


class Ledger:
    """Finds trials without reading all of them again at each event."""

    def __init__(self) -> None:
        self._trials: dict[int, TrialRecord] = {}
        self._roles: dict[Role, list[int]] = {role: [] for role in get_args(Role)}
        self._epochs: dict[Role, int] = dict.fromkeys(get_args(Role), 0)
        self._retried: set[int] = set()
        self.candidates: list[TrialRecord] = []
        """The baselines and searched trials that trained for their full budget, in the order in which they ended."""
        self.running: set[int] = set()
        """Numbers of the trials that have begun and not ended."""

    def trials(self, *roles: Role) -> list[TrialRecord]:
        """The trials of these roles (default: all) in the order of their numbers."""
        numbers = sorted(number for role in roles or self._roles for number in self._roles[role])
        return [self._trials[number] for number in numbers]

    def current(self, *roles: Role) -> list[TrialRecord]:
        """As `trials`, without the failed trials that were retried: one searched trial per proposal."""
        return [trial for trial in self.trials(*roles) if trial.number not in self._retried]

    @property
    def proposals(self) -> int:
        """How many configurations have been proposed: the length of `current("search")`."""
        return len(self._roles["search"]) - len(self._retried.intersection(self._roles["search"]))

    @property
    def epochs(self) -> int:
        """Epochs of all trials together."""
        return sum(self._epochs.values())

    def begun(self, role: Role) -> tuple[int, int]:
        """How many trials of a role have begun, and their epochs together."""
        return len(self._roles[role]), self._epochs[role]

    def failures(self) -> list[TrialRecord]:
        """The failed trials that were not retried."""
        return [trial for trial in self.current() if trial.failed]

    def __getitem__(self, number: int) -> TrialRecord:
        return self._trials[number]

    def keep(self, trial: TrialRecord) -> TrialRecord:
        """Note a new trial, or the new state of one."""
        known = self._trials.get(trial.number)
        self._trials[trial.number] = trial  # before the roles: MLflow's thread looks up here what it finds by role
        self._epochs[trial.role] += trial.trained - (known.trained if known is not None else 0)
        if known is None:
            self._roles[trial.role].append(trial.number)
            self._retried |= set() if trial.retries is None else {trial.retries}
        if trial.complete and trial.role in ("baseline", "search"):
            bisect.insort(self.candidates, trial, key=lambda ended: (ended.ended_at, ended.number))
        (self.running.discard if trial.state.is_finished() else self.running.add)(trial.number)
        return trial
