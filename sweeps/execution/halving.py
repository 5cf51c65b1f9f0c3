"""Multi-objective successive halving as a Ray Tune scheduler.

Tune's own schedulers take one metric. This one asks the search, which compares a trial with the others in the record by
both objectives (`rungs`): so what was decided survives a crash, which a scheduler's memory does not.
"""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from sweeps.execution.tune import StudySearcher


class HalvingScheduler(FIFOScheduler):
    """After each epoch: does the trial go on? Also ends trials at their full budget, and all when the sweep closes."""

    def __init__(self, searcher: StudySearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune asks its scheduler before it tells its searcher, and does not tell that of a trial's last result."""
        goes_on = self.searcher.record_epoch(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    # Tune pickles its scheduler to restore a sweep itself. Ours has nothing that is not in the record.

    def __getstate__(self) -> dict[str, Any]:
        return {}
