"""The race: do the leading points beat the reference with fresh seeds, which had no part in their choice?

The best of many noisy trials is partly lucky, so its own figures prove nothing. The point with the best prospects and
the reference are trained with one fresh seed after another, until the probability that the point beats the reference
is above `SURE` or below `HOPELESS`, or its seeds are used up; then the next point has its turn. A point that is judged
after every seed has many chances to look good, so the 5% of error that `SURE` allows are spent over these looks (alpha
spending, Lan and DeMets, Biometrika 1983): the look at n seeds has a share that grows as n^2, because a late look tells
more. `benchmarks/proof.py` measures how often a race is wrong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeps.storage.objectives import Objectives
from sweeps.storage.plan import FIRST_SEEDS
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import Standing, averaged, missed, standings
from sweeps.strategy.points import Point
from tce_core.evidence.probability import pooled_variance, probability_above

SURE = 0.95
HOPELESS = 0.05
LEADERS = 3
"""Points that race, besides those that have raced before the sweep was extended."""


@dataclass(frozen=True)
class Contender:
    """A leading point, and what its fresh seeds say."""

    point: Point
    prospect: float
    """The lead that is expected: the mean of the fresh seeds, before them that of the search; more is better."""
    seeds: int
    """Its completed fresh seeds."""
    probability: float
    """That its mean lead exceeds the reference's, corrected for the number of looks; 0.5 if nothing is known."""
    hopeless: bool
    """Whether it cannot win any more: it does not beat the reference, misses a floor on average, or has failed."""
    missed: str
    """The floors that it misses on average over its fresh seeds, such as `mIoU 0.55 of 0.57`."""

    @property
    def proven(self) -> bool:
        return self.probability > SURE and not self.hopeless


class Race:
    """The state of a race, as far as the record shows it."""

    def __init__(
        self,
        objectives: Objectives,
        most: int,
        reference: Point,
        leaders: Sequence[Point],
        runs: Mapping[int, Sequence[TrialRecord]],
    ) -> None:
        """Judge the contenders.

        Args:
            objectives: the measure that leads, and the floors.
            most: fresh seeds of a contender, at most.
            reference: the reference baseline, plain. One that is not trained has no seeds: it is the same each time.
            leaders: points that beat it in the search, the best first, at most one of a trial.
            runs: the runs with fresh seeds of all these trials, by the number of the trial; also running ones.
        """
        self.objectives, self.most, self.reference, self._runs = objectives, most, reference, runs
        others = [point for point in leaders if point.trial.number != reference.trial.number]
        self._variance = pooled_variance([self._leads(point) for point in (reference, *others)])
        self.contenders = [self._contender(point) for point in leaders]

    @property
    def proven(self) -> Contender | None:
        """The contender with the best prospect of those that are shown to beat the reference."""
        return max((one for one in self.contenders if one.proven), key=lambda one: one.prospect, default=None)

    @property
    def champion(self) -> Contender | None:
        """The contender with the best prospect of those that may still win."""
        alive = [one for one in self.contenders if not one.hopeless and (one.proven or one.seeds < self.most)]
        return max(alive, key=lambda one: one.prospect, default=None)

    @property
    def best(self) -> Contender | None:
        """The contender that comes nearest to a proof; None without one."""
        return max(self.contenders, key=lambda one: (one.probability, one.prospect), default=None)

    @property
    def over(self) -> bool:
        """Whether nothing is left to train. Runs that have not ended keep a race open."""
        return not self.due()

    def due(self) -> list[tuple[TrialRecord, int]]:
        """The next runs: trials, with the number of the fresh seed from 1. Some of them may have begun already."""
        champion = self.champion
        if champion is None or champion.proven:
            return []
        seeds = min(max(FIRST_SEEDS, champion.seeds + 1), self.most)
        pair = {trial.number: trial for trial in (self.reference.trial, champion.point.trial)}
        trained = [trial for trial in pair.values() if not trial.untrained]
        wanted = [(trial, seed) for seed in range(1, seeds + 1) for trial in trained]
        begun = {(n, run.config["seed"] - trial.config["seed"]) for n, trial in pair.items() for run in self._runs[n]}
        new = sum((trial.number, seed) not in begun for trial, seed in wanted)
        spent = sum(map(len, self._runs.values())) + new > 2 * self.most
        return [] if spent and champion.seeds >= FIRST_SEEDS else wanted

    def _contender(self, point: Point) -> Contender:
        runs, lead = self._runs[point.trial.number], self.objectives.lead
        fresh, sign = self._leads(point), 1 if lead.maximize else -1
        failed, judged = any(run.failed for run in runs), len(fresh) >= FIRST_SEEDS
        prospect = float(np.mean(fresh)) if judged else lead.value(point.scores)
        probability = self._probability(point) if judged else 0.5
        below = missed(self._standings(point)) if judged else ""
        lost = judged and (probability < HOPELESS or below != "")
        corrected = 1 - (1 - probability) / _share(len(fresh), self.most) if probability > 0.5 else probability
        return Contender(point, sign * prospect, len(fresh), max(0.0, min(corrected, 1.0)), failed or lost, below)

    def _probability(self, point: Point) -> float:
        """That the point's mean lead exceeds the reference's."""
        sign = 1 if self.objectives.lead.maximize else -1
        mine, theirs = ([sign * x for x in self._leads(one)] for one in (point, self.reference))
        fixed = self.reference.trial.untrained
        if fixed:
            theirs = [sign * self.objectives.lead.value(self.reference.scores)] * len(mine)
        if fixed or point.trial.number == self.reference.trial.number:  # the same models, adjusted
            gains = [a - b for a, b in zip(mine, theirs, strict=True)]
            return probability_above(gains, None, *pooled_variance([gains]))
        return probability_above(mine, theirs, *self._variance) if theirs else 0.5

    def _standings(self, point: Point) -> list[Standing]:
        """The point beside each floor, on average over the seeds that it and the reference have in common."""
        mine = {run.config["seed"]: run.last for run in self._runs[point.trial.number] if run.complete}
        theirs = {run.config["seed"]: run.last for run in self._runs[self.reference.trial.number] if run.complete}
        if self.reference.trial.untrained:
            theirs = dict.fromkeys(mine, self.reference.trial.last)
        both = sorted(mine.keys() & theirs.keys())
        return averaged([standings(self.objectives, mine[seed].at(point.tau), theirs[seed]) for seed in both])

    def _leads(self, point: Point) -> list[float]:
        runs = self._runs[point.trial.number]
        return [self.objectives.lead.value(run.last.at(point.tau)) for run in runs if run.complete]


def _share(seeds: int, most: int) -> float:
    """The share of the error that may be spent when a point is judged on its first `seeds` of `most` seeds."""
    return min(seeds, most) ** 2 / sum(n**2 for n in range(FIRST_SEEDS, most + 1))
