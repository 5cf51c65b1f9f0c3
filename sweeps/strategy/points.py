"""The points that a trial contributes to the front: its model with each strength of logit adjustment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sweeps.storage.objectives import Objectives
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import Standing, keeps
from sweeps.strategy.pareto import recommend
from tce_core.results import EpochResult, Scores


@dataclass(frozen=True, eq=False)
class Point:
    """A trial with one strength of logit adjustment. Points are equal if number and strength are."""

    trial: TrialRecord
    tau: float

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.trial.number, self.tau) == (other.trial.number, other.tau)

    def __hash__(self) -> int:
        return hash((self.trial.number, self.tau))

    @property
    def scores(self) -> Scores:
        """The last validation."""
        return self.trial.last.at(self.tau)

    @property
    def label(self) -> str:
        """The configuration in a few words, with the adjustment if there is one."""
        return f"{self.trial.label} τ={self.tau:g}" if self.tau else self.trial.label

    def __str__(self) -> str:
        return f"trial {self.trial.number}" + (f" (tau {self.tau:g})" if self.tau else "")


def points_of(trial: TrialRecord) -> list[Point]:
    """The points of a trial, by rising tau."""
    return [Point(trial, scores.tau) for scores in trial.last.curve]


def best_scores(objectives: Objectives, curve: Sequence[Scores], found: Sequence[Sequence[Standing]]) -> int:
    """Choose the strength that stands for a curve.

    Args:
        objectives: the leading measure and the guard.
        curve: the scores of each strength.
        found: how they stand beside the floors.

    Returns:
        The index of the best leading measure among the scores that keep all floors; if none does, of the smallest
        miss. A tie goes to the better guard, then to the lower tau. Scores without a finite pair come last.
    """
    lead = np.array([objectives.lead.value(scores) for scores in curve])
    guard = [objectives.guard.value(scores) for scores in curve]
    allowed = [keeps(standing) for standing in found]
    best = recommend(np.where(allowed, lead, np.nan), guard, -np.inf, objectives.lead.maximize)
    if best is not None:
        return best
    misses = [max((one.shortfall for one in standing), default=0.0) for standing in found]
    nearest = recommend(np.where(np.isfinite(lead), misses, np.nan), guard, -np.inf, lead_maximize=False)
    return 0 if nearest is None else nearest


def early_values(objectives: Objectives, result: EpochResult) -> tuple[float, float]:
    """The pair that compares trials at a rung, with the strength that suits the trial best.

    That is the best leading value whose guard is at most the allowance below that of the plain model. It depends on
    no other trial, so a resumed sweep compares the same values.
    """
    lead, guard = objectives.early_pair
    leads, guards = ([measure.value(scores) for scores in result.curve] for measure in (lead, guard))
    best = recommend(leads, guards, guards[0] - objectives.allowance, lead.maximize)
    place = 0 if best is None else best
    return leads[place], guards[place]
