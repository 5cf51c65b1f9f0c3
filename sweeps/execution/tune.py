"""Ray Tune on one side, our search on the other: a Searcher whose every word comes from and goes to the record."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ray.tune.search import Searcher

from sweeps.execution.listener import Listener
from sweeps.execution.worker_group import GroupSettings
from sweeps.strategy.search import Search
from tce_core.errors import UserError
from tce_core.results import EpochResult

T = TypeVar("T")
FINISHED: str = Searcher.FINISHED


class StudySearcher(Searcher):
    """Proposes trials to Tune and records what becomes of them.

    OptunaSearch is not used: it leaves NaN trials RUNNING, merges studies of one name, and calls a stopped trial
    complete.
    """

    def __init__(self, search: Search, group: GroupSettings, listeners: Sequence[Listener] = ()) -> None:
        super().__init__()
        self.search, self.group, self.listeners = search, group, listeners
        self.numbers: dict[str, int] = {}  # Tune's trial ids -> ours
        self.failure: Exception | None = None
        """What ended the sweep. Tune would take it for the failure of one trial, and go on."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion: dict[str, Any] | str | None = FINISHED
        return self._guarded(lambda: self._suggest(trial_id), suggestion)

    def record_epoch(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Record what a slot reported; whether the trial goes on."""
        return self._guarded(lambda: self._record_epoch(self.numbers[trial_id], result), False)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: `HalvingScheduler` has passed it on."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self.numbers.pop(trial_id)
        reason = (result or {}).get("error") or ("its slot crashed; see Ray's logs" if error else None)
        self._guarded(lambda: self._ended(number, reason), None)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        trial = self.search.next()
        if trial is None:
            return FINISHED if self.search.finished or self.search.stop_requested else None
        self.numbers[trial_id] = trial.number
        for listener in self.listeners:
            listener.on_trial_start(trial.number)
        return {"group": self.group, "number": trial.number, "trial": trial.config, "epoch": trial.epoch}

    def _record_epoch(self, number: int, result: dict[str, Any]) -> bool:
        if "fatal" in result:
            raise UserError(result["fatal"])
        if "error" in result:
            return False
        goes_on = self.search.record_epoch(number, EpochResult.from_json(result["result"]))
        for listener in self.listeners:
            listener.on_epoch(number)
        return goes_on

    def _ended(self, number: int, reason: str | None) -> None:
        self.search.record_end(number, reason)
        if self.search.record[number].state.is_finished():
            for listener in self.listeners:
                listener.on_trial_end(number)

    def _guarded(self, action: Callable[[], T], otherwise: T) -> T:
        """Once something has failed that no trial is to blame for, trials are only ended, to be resumed."""
        if self.failure is None:
            try:
                return action()
            except Exception as error:
                self.failure = error
                self.search.request_stop()
        return otherwise

    # Tune copies and pickles its searcher to restore a sweep itself. Ours is restored from the record instead: there is
    # one searcher, without a state of its own.

    def __deepcopy__(self, memo: dict[int, Any]) -> "StudySearcher":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass
