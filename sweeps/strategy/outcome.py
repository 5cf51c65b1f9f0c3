"""The results of a sweep: its Pareto front, the growth of the front and the trial to recommend."""

from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from sweeps.storage.objectives import Objectives
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import Standing, keeps, nearest_misses, standings
from sweeps.strategy.pareto import GrowingFront, recommend


@dataclass(frozen=True)
class Choice:
    """The recommended trial and what it is compared with."""

    trial: TrialRecord
    baseline: TrialRecord | None
    """The reference baseline; None if it has not completed."""
    standings: tuple[Standing, ...] = ()
    """The trial beside each floor; without a reference baseline there are no relative floors."""


class Outcome:
    """Computes the results from the record. Each call takes in the trials that ended since the last one.

    `objectives` may differ from the objectives of the search.
    """

    def __init__(self, record: Record, objectives: Objectives) -> None:
        self.record, self.objectives = record, objectives
        self._growth = Growth(objectives)
        self._standings: dict[tuple[int, int | None], tuple[Standing, ...]] = {}
        """By the numbers of a trial and of the reference baseline."""

    def candidates(self) -> list[TrialRecord]:
        """Return the baselines and searched trials that trained for their full budget."""
        return sorted(self.record.candidates, key=attrgetter("number"))

    def front(self) -> list[TrialRecord]:
        """Return the non-dominated candidates, in order of rising mIoU."""
        growth = self._grown()
        on_front = sorted((growth.values[place], growth.trials[place].number) for place in growth.front.places)
        return [self.record[number] for _, number in on_front]

    def history(self) -> tuple[list[TrialRecord], list[float]]:
        """Return how the front grew.

        Candidates are ordered by the epochs that the sweep had spent when they ended, which does not depend on clocks.
        Hypervolume is measured from the worst possible values: 0, or 1 for a measure to minimise.

        Returns:
            The candidates in the order in which they ended, and the hypervolume after each of them.
        """
        growth = self._grown()
        return list(growth.trials), list(growth.volumes)

    def last_growth(self) -> int:
        """Return the epochs that the sweep had spent when its front last grew; 0 if there is no front.

        A trial that is best in one objective counts even if it is at the worst value of the other.
        """
        return self._grown().last

    def reference(self) -> TrialRecord | None:
        """Return the first baseline of the space, the reference for gains and costs; None until it has completed."""
        label = next(iter(self.record.plan.space.get("baselines") or {}), None)
        return next((t for t in self.record.trials("baseline") if t.complete and t.label == label), None)

    def choose(self) -> Choice | None:
        """Choose the candidate with the best leading measure among those that keep all floors.

        The floor of the guard is the reference baseline's value minus the allowance; without a reference baseline
        there are no floors relative to it. A baseline can win.

        Returns:
            The choice; None if no candidate qualifies.
        """
        growth, objectives = self._grown(), self.objectives
        if not growth.trials:
            return None
        order = np.argsort([trial.number for trial in growth.trials])  # a tie goes to the earlier trial
        columns = dict(zip(objectives.pair, np.array(growth.values)[order].T, strict=True))
        lead, guard = columns[objectives.lead], columns[objectives.guard]
        allowed = [keeps(self.standings(growth.trials[place])) for place in order]
        best = recommend(np.where(allowed, lead, np.nan), guard, -np.inf, objectives.lead.maximize)
        return None if best is None else self.choice_of(growth.trials[order[best]])

    def choice_of(self, trial: TrialRecord) -> Choice:
        """Put a candidate beside the reference baseline and the floors, as if it were chosen."""
        return Choice(trial, self.reference(), self.standings(trial))

    def standings(self, trial: TrialRecord) -> tuple[Standing, ...]:
        """Compare a candidate with all floors."""
        baseline = self.reference()
        key = trial.number, None if baseline is None else baseline.number
        if key not in self._standings:
            found = standings(self.objectives, trial.last, None if baseline is None else baseline.last)
            self._standings[key] = tuple(found)
        return self._standings[key]

    def why_none(self) -> str:
        """Say in one line why `choose` finds no trial: none was trained to its end, or none keeps the floors."""
        if candidates := self.candidates():
            return nearest_misses([(f"trial {trial.number}", self.standings(trial)) for trial in candidates])
        reasons = [trial.short_reason for trial in self.record.trials() if trial.reason]
        return ": ".join(["no trial was trained to its end", *reasons[:1]])

    def repetitions(self, trial: TrialRecord) -> list[TrialRecord]:
        """Return the completed confirmation runs of a trial: same configuration, seeds that the choice did not use."""
        return [run for run in self.record.trials("confirm") if run.repeats == trial.number and run.complete]

    def _grown(self) -> "Growth":
        """The growth of the front up to now."""
        candidates, growth = self.record.candidates, self._growth
        seen = len(growth.trials)
        if seen and candidates[seen - 1].number != growth.trials[-1].number:
            # A trial ended as early as one that is already taken in, and precedes it: begin anew.
            self._growth = growth = Growth(self.objectives)
            seen = 0
        for trial in candidates[seen:]:
            growth.add(trial)
        return growth


class Growth:
    """How the front grew: candidates in the order in which they ended."""

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self.front = GrowingFront([0.0 if up else 1.0 for up in objectives.maximize], objectives.maximize)
        self.trials: list[TrialRecord] = []
        self.values: list[tuple[float, float]] = []
        self.volumes: list[float] = []
        self.last = 0
        """Epochs that the sweep had spent when the front last grew."""

    def add(self, trial: TrialRecord) -> None:
        """Take in the next candidate."""
        values = self.objectives.values(trial.last)
        if self.front.add(values):
            self.last = trial.ended_at
        self.trials.append(trial)
        self.values.append(values)
        self.volumes.append(self.front.volume)
