"""What the sampler is told about the searched trials."""

from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.proposals import Observation


class Observations:
    """Turns the searched trials of a record into observations, one per proposal, in order.

    A stopped trial is reported with its last values, as if they were final.
    """

    def __init__(self, record: Record, outcome: Outcome) -> None:
        self.record, self.outcome = record, outcome
        self._final: dict[int, Observation] = {}
        """Observations of ended trials that cannot change any more, by trial number."""

    def all(self) -> list[Observation]:
        """One observation per proposal."""
        return [self.of_trial(trial) for trial in self.record.current("search")]

    def of_trial(self, trial: TrialRecord) -> Observation:
        if trial.number in self._final:
            return self._final[trial.number]
        if trial.failed or not trial.state.is_finished():
            return Observation(trial.params, failed=trial.failed, system_attrs=trial.system_attrs)
        plan, reference = self.record.plan, self.outcome.reference()
        shortfall = None if reference is None else self._shortfall(trial, reference)
        values = plan.objectives.values(trial.last.report)
        observation = Observation(trial.params, values, False, shortfall, trial.system_attrs)
        if reference is not None or not plan.space.get("baselines"):
            self._final[trial.number] = observation
        return observation

    def _shortfall(self, trial: TrialRecord, reference: TrialRecord) -> float:
        """How far the trial misses the guard's floor, compared with the baseline after as many epochs."""
        objectives, beside = self.record.plan.objectives, reference.results[trial.epoch - 1]
        floor = objectives.guard.value(beside.report) - objectives.allowance
        return floor - objectives.guard.value(trial.last.report)
