"""Fresh seeds: which trials are trained again with seeds that had no part in their choice."""

from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome


class Confirmations:
    """Says which runs with fresh seeds are still to begin."""

    def __init__(self, record: Record, outcome: Outcome) -> None:
        self.record, self.outcome = record, outcome

    def due(self, choosable: bool) -> list[tuple[TrialRecord, int]]:
        """The trials to train again, with their fresh seeds, in this order. A model that is only evaluated has none.

        In a comparison each method has all seeds, seed by seed. In a sweep the reference baseline does not wait for the
        winner, so it keeps slots busy while the last searched trials run; then the race decides.

        Args:
            choosable: whether all trials that can win have ended.
        """
        plan = self.record.plan
        wanted = self._of_a_comparison() if plan.methods else self._of_a_sweep(choosable)
        done = {(trial.repeats, trial.config["seed"]) for trial in self.record.trials("confirm")}
        due = dict.fromkeys((trial.number, plan.seed + place) for trial, place in wanted if not trial.untrained)
        return [(self.record[number], seed) for number, seed in due if (number, seed) not in done]

    def _of_a_comparison(self) -> list[tuple[TrialRecord, int]]:
        """A method whose first run failed may do better with other seeds."""
        places = range(1, self.record.plan.confirm + 1)
        return [(trial, place) for place in places for trial in self.record.current("baseline")]

    def _of_a_sweep(self, choosable: bool) -> list[tuple[TrialRecord, int]]:
        first = range(1, self.record.plan.sure_seeds + 1)
        reference = self.outcome.reference()
        wanted = [] if reference is None else [(reference, place) for place in first]
        if not choosable:
            return wanted
        if (race := self.outcome.race()) is not None:
            return wanted + race.due()
        winner = self.outcome.choose()
        return wanted if winner is None else [*wanted, *((winner.trial, place) for place in first)]
