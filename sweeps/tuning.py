"""Ray Tune on one side, our search on the other: a Searcher whose every word comes from and goes to the record."""

from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from sweeps.listener import Listener
from sweeps.search import Search
from sweeps.workers import GroupSettings
from tce_core.results import EpochResult


class StudySearcher(Searcher):
    """Proposes trials to Tune and records what becomes of them.

    OptunaSearch is not used: it leaves NaN trials RUNNING, merges studies of one name, and calls a stopped trial
    complete.
    """

    def __init__(self, search: Search, group: GroupSettings, listeners: Sequence[Listener] = ()) -> None:
        super().__init__()
        self.search, self.group, self.listeners = search, group, listeners
        self.numbers: dict[str, int] = {}  # Tune's trial ids -> ours

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        trial = self.search.next()
        if trial is None:
            return Searcher.FINISHED if self.search.finished else None
        self.numbers[trial_id] = trial.number
        for listener in self.listeners:
            listener.trial_started(trial.number)
        epochs = trial.last.epoch if trial.results else 0
        return {"group": self.group, "number": trial.number, "trial": trial.config, "epoch": epochs}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        number = self.numbers[trial_id]
        if "result" in result:
            self.search.epoch_done(number, EpochResult.from_json(result["result"]))
            for listener in self.listeners:
                listener.epoch_done(number)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial's last result is reported here alone."""
        result = result or {}
        if not error:
            self.on_trial_result(trial_id, result)
        number = self.numbers.pop(trial_id)
        self.search.trial_done(number, result.get("error") or ("its slot crashed; see Ray's logs" if error else None))
        for listener in self.listeners:
            listener.trial_ended(number)

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
