"""Ray Tune runs the trials; the search decides. This file translates between the two.

Tune's own searchers and schedulers are not used. `OptunaSearch` leaves NaN trials RUNNING, merges studies of one name,
and calls a stopped trial complete. Tune's schedulers know one metric, and forget their decisions in a crash.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.execution.listener import Listener
from sweeps.execution.mailbox import Answer, Order
from sweeps.execution.slot import Slot
from sweeps.execution.worker_group import WorkerGroups
from sweeps.strategy.search import Search
from sweeps.strategy.starting import check_start
from tce_core.errors import TemporaryError, UserError
from tce_core.results import EpochResult

T = TypeVar("T")
FINISHED: str = Searcher.FINISHED


def tune_until_done(search: Search, groups: WorkerGroups, listeners: Sequence[Listener], trainable: Any = Slot) -> None:
    """Let Ray Tune run the search's trials, as many at a time as there are groups of workers. It closes the groups.

    Raises:
        UserError: the record or a checkpoint cannot be written, or workers cannot be kept running.
    """
    # CPUs belong to the workers. Tune insists on some resource, so a slot asks for one byte of memory.
    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    searcher = StudySearcher(search, groups, listeners)
    storage = groups.settings.storage
    Path(storage).mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(groups),
        contextlib.closing(search.ahead),
        tempfile.TemporaryDirectory(prefix="tune-", dir=storage) as scratch,
        _quiet(),
    ):
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=HalvingScheduler(searcher),
                num_samples=-1,
                max_concurrent_trials=groups.number,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name=search.plan.name, storage_path=scratch, verbose=0),
        )
        tuner.fit()
    if searcher.failure is not None:
        raise searcher.failure


class StudySearcher(Searcher):
    """Gives Tune the trials that the search proposes, and records what becomes of them."""

    def __init__(self, search: Search, groups: WorkerGroups, listeners: Sequence[Listener] = ()) -> None:
        super().__init__()
        self.search, self.groups, self.listeners = search, groups, listeners
        self.numbers: dict[str, int] = {}
        """Our trial numbers by Tune's trial ids."""
        self.failure: Exception | None = None
        """The error that ends the sweep. Tune would treat it as the failure of one trial, and continue."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion: dict[str, Any] | str | None = FINISHED
        return self._guarded(lambda: self._suggest(trial_id), suggestion)

    def record_epoch(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Record what a slot reported. Returns whether the trial continues."""
        return self._guarded(lambda: self._record_epoch(self.numbers[trial_id], Answer.from_dict(result)), False)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: `HalvingScheduler` has passed the result on."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        number = self.numbers.pop(trial_id)
        reason = (result or {}).get("error") or ("its slot crashed; see Ray's logs" if error else None)
        self._guarded(lambda: self.groups.give_back(number, lost=error), None)
        self._guarded(lambda: self._record_end(number, reason), None)

    def _suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if not self.groups.free:
            return None
        trial = self.search.next()
        if trial is None:
            return FINISHED if self.search.finished or self.search.stop_requested else None
        check_start(self.search.plan)  # trials that start from different weights cannot be compared
        self.numbers[trial_id] = trial.number
        order = Order(0, trial.number, trial.config, trial.epoch + 1, trial.trunk, self.search.sees_test(trial))
        group = self.groups.take(order)
        for listener in self.listeners:
            listener.on_trial_start(trial.number)
        return {"mailbox": group.mailbox, "order": asdict(order)}

    def _record_epoch(self, number: int, answer: Answer) -> bool:
        if answer.fatal is not None:
            raise (TemporaryError if answer.temporary else UserError)(answer.fatal)
        if answer.result is None:
            return False
        goes_on = self.search.record_epoch(number, EpochResult.from_json(answer.result))
        for listener in self.listeners:
            listener.on_epoch(number)
        return goes_on

    def _record_end(self, number: int, reason: str | None) -> None:
        self.search.record_end(number, reason)
        if self.search.record[number].state.is_finished():
            for listener in self.listeners:
                listener.on_trial_end(number)

    def _guarded(self, action: Callable[[], T], otherwise: T) -> T:
        """Run `action`. After a failure that no trial caused, trials only end, and a later process resumes them."""
        if self.failure is None:
            try:
                return action()
            except Exception as error:
                self.failure = error
                self.search.request_stop()
        return otherwise

    # Tune copies and pickles its searcher to restore a sweep itself. This one has no state of its own: a sweep is
    # restored from the record.

    def __deepcopy__(self, memo: dict[int, Any]) -> "StudySearcher":
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class HalvingScheduler(FIFOScheduler):
    """Multi-objective successive halving: after each epoch it asks the search whether the trial continues.

    The search compares the trial with the others in the record by both objectives (`rungs.py`), so a decision
    survives a crash. The same question ends trials at their full budget, and all trials when the sweep stops.
    """

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Record the epoch here: Tune asks its scheduler first, and keeps a trial's last result from its searcher."""
        goes_on = self.searcher.record_epoch(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # as for the searcher


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Tune's progress lines off the terminal. Its errors stay, except those about its own unused state."""
    levels = {"ray.tune": logging.ERROR, "ray.tune.execution.experiment_state": logging.CRITICAL}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
