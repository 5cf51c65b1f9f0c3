"""The results of a sweep: its Pareto front, the growth of the front and the trial to recommend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweeps.storage.objectives import Objectives
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.pareto import hypervolume_history, non_dominated, recommend


@dataclass(frozen=True)
class Choice:
    """The recommended trial and what it is compared with."""

    trial: TrialRecord
    baseline: TrialRecord | None
    """The reference baseline; None if it has not completed."""
    floor: float | None
    """The lowest acceptable value of the guard; None without a reference baseline."""


class Outcome:
    """Computes the results from the record anew at each call.

    `objectives` may differ from the objectives of the search.
    """

    def __init__(self, record: Record, objectives: Objectives) -> None:
        self.record, self.objectives = record, objectives

    def candidates(self) -> list[TrialRecord]:
        """Return the baselines and searched trials that trained for their full budget."""
        return [trial for trial in self.record.trials("baseline", "search") if trial.complete]

    def front(self) -> list[TrialRecord]:
        """Return the non-dominated candidates, in order of rising mIoU."""
        trials = self.candidates()
        if not trials:
            return []
        values = self._values(trials)
        mask = non_dominated(values, self.objectives.maximize)
        return sorted(
            (t for t, on in zip(trials, mask, strict=True) if on), key=lambda t: self.objectives.values(t.last.report)
        )

    def history(self, margin: float = 0.0) -> tuple[list[TrialRecord], list[float]]:
        """Return how the front grew.

        Candidates are ordered by the epochs that the sweep had spent when they ended, which does not depend on clocks.

        Args:
            margin: hypervolume is measured from the worst possible values (0, or 1 for a measure to minimise), moved
                outward by this margin. With a margin, a trial that is best in one objective counts even if it is at
                the worst value of the other.

        Returns:
            The candidates in the order in which they ended, and the hypervolume after each of them.
        """
        trials = sorted(self.candidates(), key=lambda trial: (ended_at(trial), trial.number))
        if not trials:
            return [], []
        reference = np.array([-margin if up else 1.0 + margin for up in self.objectives.maximize])
        volumes = hypervolume_history(self._values(trials), reference, self.objectives.maximize)
        return trials, volumes.tolist()

    def reference(self) -> TrialRecord | None:
        """Return the first baseline of the space, the reference for gains and costs; None until it has completed."""
        label = next(iter(self.record.plan.space.get("baselines") or {}), None)
        return next((t for t in self.record.trials("baseline") if t.complete and t.label == label), None)

    def choose(self) -> Choice | None:
        """Choose the candidate with the best leading measure among those whose guard is not below the floor.

        The floor is the reference baseline's value of the guard minus the allowance; there is no floor without a
        reference baseline. A baseline can win.

        Returns:
            The choice; None if no candidate qualifies.
        """
        trials, objectives = self.candidates(), self.objectives
        if not trials:
            return None
        reports = [trial.last.report for trial in trials]
        lead = np.array([objectives.lead.value(report) for report in reports])
        guard = np.array([objectives.guard.value(report) for report in reports])
        baseline = self.reference()
        floor = None if baseline is None else objectives.guard.value(baseline.last.report) - objectives.allowance
        best = recommend(lead, guard, -np.inf if floor is None else floor, objectives.lead.maximize)
        return None if best is None else Choice(trials[best], baseline, floor)

    def repetitions(self, trial: TrialRecord) -> list[TrialRecord]:
        """Return the completed confirmation runs of a trial: same configuration, seeds that the choice did not use."""
        return [run for run in self.record.trials("confirm") if run.repeats == trial.number and run.complete]

    def _values(self, trials: Sequence[TrialRecord]) -> npt.NDArray[np.float64]:
        return np.array([self.objectives.values(trial.last.report) for trial in trials])


def ended_at(trial: TrialRecord) -> int:
    """Return the epochs that the whole sweep had spent when the trial ended; 0 for a trial that has not ended."""
    return trial.ended.epochs if trial.ended is not None else 0
