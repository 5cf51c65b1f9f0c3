"""What the sampler is told about the searched trials."""

from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import largest_shortfalls, standings
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import best_scores
from sweeps.strategy.proposals import Observation


class Observations:
    """Turns the searched trials of a record into observations, one per proposal, in order.

    A stopped trial is reported with its last values, as if they were final. A trial is reported by one point of its
    curve, the one that a person would choose.
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
        reference = self.outcome.reference()
        values, shortfalls = self._best(trial, reference)
        observation = Observation(trial.params, values, False, shortfalls, trial.system_attrs)
        if reference is not None or not self.record.plan.space.get("baselines"):
            self._final[trial.number] = observation
        return observation

    def _best(self, trial: TrialRecord, reference: TrialRecord | None) -> tuple[tuple[float, float], dict[str, float]]:
        """The objectives of the trial with the strength of adjustment that suits it best, and its misses of the floors.

        It is compared with the baseline after as many epochs. `others` is one floor here: a GP is fitted for each
        floor, which would take long for many classes.
        """
        objectives, curve = self.record.plan.objectives, trial.last.curve
        baseline, beside = (None, None) if reference is None else (reference.last, reference.at_epoch(trial.epoch))
        found = [standings(objectives, scores, baseline, beside) for scores in curve]
        best = best_scores(objectives, curve, found)
        return objectives.told(curve[best]), largest_shortfalls(found[best])
