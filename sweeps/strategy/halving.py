"""The rungs of a sweep: who has reached them, and who goes on. The decision itself is in `rungs.py`."""

from operator import itemgetter

import numpy as np

from sweeps.storage.objectives import Objectives
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.points import early_values
from sweeps.strategy.rungs import goes_on
from tce_core.results import EpochResult


class Halving:
    """The searched trials at each rung. Rungs count the epochs after a trial's trunk."""

    def __init__(self, record: Record) -> None:
        self.plan, self.objectives = record.plan, record.plan.objectives
        self.arrived: dict[int, dict[int, tuple[float, float]]] = {rung: {} for rung in self.plan.rungs}
        """For each rung, the objective pair of every searched trial that reached it, in order of arrival."""
        searched = record.current("search")
        events = [(s.epochs, trial, r) for trial in searched for s, r in zip(trial.spent, trial.results, strict=True)]
        for _, trial, result in sorted(events, key=itemgetter(0)):
            self.note(trial, result)

    def note(self, trial: TrialRecord, result: EpochResult) -> None:
        """Note the result of an epoch, if it is that of a searched trial at a rung."""
        rung = result.epoch - trial.trunk_epochs
        if trial.role == "search" and rung in self.arrived and measurable(self.objectives, result):
            self.arrived[rung][trial.number] = early_values(self.objectives, result)

    def stops(self, trial: TrialRecord) -> bool:
        """Whether the trial is at a rung and does not survive it, among the trials that arrived before it."""
        arrived = self.arrived.get(trial.epoch - trial.trunk_epochs)
        if arrived is None:
            return False
        index = list(arrived).index(trial.number)
        maximize = [measure.maximize for measure in self.objectives.early_pair]
        return not goes_on(list(arrived.values())[: index + 1], index, self.plan.keep, maximize)


def measurable(objectives: Objectives, result: EpochResult) -> bool:
    """Whether the objectives of a result are finite."""
    try:
        return bool(np.isfinite(objectives.values(result)).all())
    except ValueError:  # no class has an IoU
        return False
