"""The results of a sweep: its Pareto front, the growth of the front and the trial to recommend."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

import numpy as np

from sweeps.storage.objectives import Objectives
from sweeps.storage.plan import FIRST_SEEDS
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import Standing, keeps, nearest_misses, standings
from sweeps.strategy.pareto import GrowingFront, ranking
from sweeps.strategy.points import Point, best_scores, points_of
from sweeps.strategy.racing import LEADERS, Contender, Race
from tce_core.results import Scores


@dataclass(frozen=True)
class Choice:
    """The recommended point and what it is compared with."""

    point: Point
    baseline: TrialRecord | None
    """The reference baseline; None if it has not completed."""
    adjusted_baseline: Point | None
    """The reference baseline with the strength of adjustment that suits it best; None if that is 0."""
    standings: tuple[Standing, ...] = ()
    """The point beside each floor; without a reference baseline there are no relative floors."""
    raced: Contender | None = None
    """What fresh seeds say of the point; if the reference is recommended for lack of a proof, of the best contender."""

    @property
    def trial(self) -> TrialRecord:
        return self.point.trial

    @property
    def scores(self) -> Scores:
        """The last validation of the recommended point."""
        return self.point.scores

    @property
    def is_baseline(self) -> bool:
        """Whether the reference baseline itself is recommended, plain or adjusted."""
        return self.baseline is not None and self.trial.number == self.baseline.number


class Outcome:
    """Computes the results from the record. Each call takes in the trials that ended since the last one.

    `objectives` may differ from the objectives of the search.
    """

    def __init__(self, record: Record, objectives: Objectives) -> None:
        self.record, self.objectives = record, objectives
        self._growth = Growth(objectives)
        self._standings: dict[tuple[int, float, int | None], tuple[Standing, ...]] = {}
        """By the number of a trial, tau, and the number of the reference baseline."""

    def candidates(self) -> list[TrialRecord]:
        """Return the baselines and searched trials that trained for their full budget."""
        return sorted(self.record.candidates, key=attrgetter("number"))

    def front(self) -> list[Point]:
        """Return the non-dominated points of the candidates, in order of rising mIoU."""
        growth = self._grown()
        on_front = sorted(
            (self.objectives.values(point.scores), point.trial.number, point.tau)
            for point in (growth.distinct[place] for place in growth.front.places)
        )
        return [Point(self.record[number], tau) for _, number, tau in on_front]

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
        """Choose the point with the best leading measure among those that keep all floors.

        The floor of the guard is the plain reference baseline's value minus the allowance; without a reference
        baseline there are no floors relative to it. A baseline can win. A point that fresh seeds do not confirm is not
        recommended: then it is the reference, see `racing.py`.

        Returns:
            The choice; None if no point qualifies. A comparison recommends nothing.
        """
        if self.record.plan.methods or not (ranked := self._ranked()):
            return None
        race = self.race(ranked)
        if race is None:
            return self.choice_of(ranked[0])
        ended = race.over or self.record.finished  # a limit of the sweep can end a race
        if ended and (winner := race.proven) is not None:
            return replace(self.choice_of(winner.point), raced=winner)
        if ended:
            return replace(self.choice_of(race.reference), raced=race.best)
        assert race.champion is not None  # or the race would be over
        return self.choice_of(race.champion.point)

    def race(self, ranked: Sequence[Point] | None = None) -> Race | None:
        """Return the race of the leading points against the reference.

        None: there is no reference, the sweep has fewer than two fresh seeds, or these objectives are not its own.
        """
        plan, reference = self.record.plan, self.reference()
        if (
            reference is None
            or plan.confirm < FIRST_SEEDS
            or plan.methods
            or self.objectives.lead != plan.objectives.lead
        ):
            return None
        fallback = self.best_point(reference) if reference.untrained else Point(reference, 0.0)
        raced = {run.repeats for run in self.record.trials("confirm")} - {reference.number}
        before = self.objectives.lead.value(fallback.scores)
        better = self.objectives.lead.maximize
        leaders: dict[int, Point] = {}
        for point in self._ranked() if ranked is None else ranked:
            lead, number = self.objectives.lead.value(point.scores), point.trial.number
            beats = lead > before if better else lead < before
            if number in leaders or not beats or (number == reference.number and reference.untrained):
                continue
            if len(leaders) < LEADERS or number in raced:
                leaders[number] = point
        runs = {number: self._runs_of(number) for number in (reference.number, *leaders)}
        return Race(self.objectives, plan.confirm, fallback, list(leaders.values()), runs)

    def _runs_of(self, number: int) -> list[TrialRecord]:
        return [run for run in self.record.current("confirm") if run.repeats == number]

    def _ranked(self) -> list[Point]:
        """Return the points that keep all floors, the best leading measure first."""
        growth, objectives = self._grown(), self.objectives
        if not growth.points:
            return []
        order = sorted(range(len(growth.points)), key=lambda place: growth.points[place].trial.number)
        points = [growth.points[place] for place in order]  # a tie goes to the earlier trial, then to the lower tau
        columns = dict(zip(objectives.pair, np.array(growth.values)[order].T, strict=True))
        lead, guard = columns[objectives.lead], columns[objectives.guard]
        allowed = [keeps(self.standings(point)) for point in points]
        places = ranking(np.where(allowed, lead, np.nan), guard, -np.inf, objectives.lead.maximize)
        return [points[place] for place in places]

    def choice_of(self, point: Point) -> Choice:
        """Put a point beside the reference baseline and the floors, as if it were chosen."""
        baseline = self.reference()
        adjusted = None if baseline is None else self.best_point(baseline)
        return Choice(point, baseline, adjusted if adjusted and adjusted.tau else None, self.standings(point))

    def best_point(self, trial: TrialRecord) -> Point:
        """Return a candidate with the strength of adjustment that suits it best: see `best_scores`."""
        points = points_of(trial)
        return points[best_scores(self.objectives, trial.last.curve, [self.standings(point) for point in points])]

    def standings(self, point: Point) -> tuple[Standing, ...]:
        """Compare a candidate's point with all floors."""
        baseline = self.reference()
        key = point.trial.number, point.tau, None if baseline is None else baseline.number
        if key not in self._standings:
            found = standings(self.objectives, point.scores, None if baseline is None else baseline.last)
            self._standings[key] = tuple(found)
        return self._standings[key]

    def why_none(self) -> str:
        """Say in one line why `choose` finds no trial: none was trained to its end, or none keeps the floors."""
        if candidates := self.candidates():
            points = [self.best_point(trial) for trial in candidates]
            return nearest_misses([(str(point), self.standings(point)) for point in points])
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
        self.volumes: list[float] = []
        """Hypervolume after each of `trials`."""
        self.points: list[Point] = []
        """The points of all trials."""
        self.values: list[tuple[float, float]] = []
        """The objectives of each of `points`."""
        self.distinct: list[Point] = []
        """The points that the front has been given, see `add`."""
        self.last = 0
        """Epochs that the sweep had spent when the front last grew."""

    def add(self, trial: TrialRecord) -> None:
        """Take in the next candidate.

        A strength that changes no objective is not on the front. It stays a point: a floor can tell it from the others.
        """
        known: set[tuple[float, float]] = set()
        for point in points_of(trial):
            values = self.objectives.values(point.scores)
            self.points.append(point)
            self.values.append(values)
            if values in known:
                continue
            known.add(values)
            self.distinct.append(point)
            if self.front.add(values):
                self.last = trial.ended_at
        self.trials.append(trial)
        self.volumes.append(self.front.volume)
