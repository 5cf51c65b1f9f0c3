"""Fresh seeds: which trials are trained again with seeds that had no part in their choice."""

from itertools import product

from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome


class Confirmations:
    """Says which runs with fresh seeds are still to begin."""

    def __init__(self, record: Record, outcome: Outcome) -> None:
        self.record, self.outcome, self.plan = record, outcome, record.plan

    def due(self, choosable: bool) -> list[tuple[TrialRecord, int]]:
        """The trials to train again, with their fresh seeds, in this order.

        The reference baseline does not wait for the winner, so it keeps slots busy while the last searched trials run.
        A model that is only evaluated has no fresh seeds. In a comparison each method has them all, seed by seed.

        Args:
            choosable: whether all trials that can win have ended.
        """
        plan = self.record.plan
        seeds = range(plan.seed + 1, plan.seed + 1 + plan.confirm)
        done = {(trial.repeats, trial.config["seed"]) for trial in self.record.trials("confirm")}
        pairs = (
            product(seeds, self._methods())
            if plan.methods
            else ((s, t) for t in self._chosen(choosable) for s in seeds)
        )
        due = dict.fromkeys((trial.number, seed) for seed, trial in pairs if not trial.untrained)
        return [(self.record[number], seed) for number, seed in due if (number, seed) not in done]

    def _methods(self) -> list[TrialRecord]:
        """The first run of each method of a comparison. A method whose first run failed may do better with others."""
        return self.record.current("baseline")

    def _chosen(self, choosable: bool) -> list[TrialRecord]:
        """The reference baseline, then the winner."""
        winner = self.outcome.choose() if choosable else None
        chosen = [self.outcome.reference(), winner.trial if winner is not None else None]
        return [trial for trial in chosen if trial is not None]
