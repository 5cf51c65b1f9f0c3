"""What a sweep has found: its Pareto front, how that grew, and the configuration to recommend."""

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
    """The recommended trial, the baseline it is measured against, and whether it kept the guard's floor."""

    trial: TrialRecord
    baseline: TrialRecord | None
    floor: float | None


class Outcome:
    """Derived from the record whenever it is asked; `objectives` may differ from those the sweep searched by."""

    def __init__(self, record: Record, objectives: Objectives) -> None:
        self.record, self.objectives = record, objectives

    def candidates(self) -> list[TrialRecord]:
        """Baselines and searched trials that had their full budget: what the front is made of."""
        return [trial for trial in self.record.trials("baseline", "search") if trial.complete]

    def front(self) -> list[TrialRecord]:
        """The non-dominated candidates, by mIoU."""
        trials = self.candidates()
        if not trials:
            return []
        values = self._values(trials)
        mask = non_dominated(values, self.objectives.maximize)
        return sorted(
            (t for t, on in zip(trials, mask, strict=True) if on), key=lambda t: self.objectives.values(t.last.report)
        )

    def history(self, margin: float = 0.0) -> tuple[list[TrialRecord], list[float]]:
        """How the front grew: the candidates in the order they ended, and the hypervolume after each.

        It is that beyond the worst values there are, or beyond a `margin` more: with one, what is best in one objective
        counts though it is at the worst in the other. The order is that of epochs spent, which no clock can upset.
        """
        trials = sorted(self.candidates(), key=lambda trial: (ended_at(trial), trial.number))
        if not trials:
            return [], []
        reference = np.array([-margin if up else 1.0 + margin for up in self.objectives.maximize])
        volumes = hypervolume_history(self._values(trials), reference, self.objectives.maximize)
        return trials, volumes.tolist()

    def reference(self) -> TrialRecord | None:
        """The first baseline, against which gains and costs are counted; None until it has completed."""
        label = next(iter(self.record.plan.space.get("baselines") or {}), None)
        return next((t for t in self.record.trials("baseline") if t.complete and t.label == label), None)

    def choose(self) -> Choice | None:
        """The recommended trial: the best by the leading measure that keeps the guard above its floor.

        The floor is the reference baseline's own value less the allowance. A baseline can win.
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
        """The completed confirming runs of a trial: its configuration with seeds that had no part in choosing it."""
        return [again for again in self.record.trials("confirm") if again.repeats == trial.number and again.complete]

    def _values(self, trials: Sequence[TrialRecord]) -> npt.NDArray[np.float64]:
        return np.array([self.objectives.values(trial.last.report) for trial in trials])


def ended_at(trial: TrialRecord) -> int:
    """Epochs that the whole sweep had spent when the trial ended."""
    return trial.ended.epochs if trial.ended is not None else 0
