"""What to try next: Optuna's samplers over the searched trials, reproducible through interruptions.

The sampler sees an in-memory copy of the searched trials only; baselines and confirming runs lie outside the space.
Copy and sampler are made anew for each proposal, the sampler seeded by (sweep seed, trial number), since either may
keep notes that a restart loses (NSGA-II does): a sweep that was killed and resumed proposes what an unbroken one would
have.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search_spaces.space import Choices, Range, Space

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@dataclass(frozen=True)
class Proposal:
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


class Proposer:
    """Asks a sampler; `trials` are the searched trials of the record so far, in order."""

    def __init__(self, space: Space, sampler: str, seed: int, maximize: Iterable[bool], trials: list[FrozenTrial]):
        self.space, self.sampler, self.seed = space, sampler, seed
        self.directions = [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in maximize]
        self.memory = self._study(trials)

    def next(self) -> Proposal | None:
        """The next configuration to try; None when a grid is used up."""
        self.memory = self._study(self.memory.get_trials(deepcopy=False))
        number = len(self.memory.get_trials(deepcopy=False))
        if self.sampler == "grid":
            grid = self.space.grid()
            if number >= len(grid):
                return None
            self.memory.enqueue_trial(grid[number])
        self.memory.sampler = make_sampler(
            self.sampler, int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        )
        trial = self.memory.ask()
        for name, dimension in self.space.space.items():
            if dimension.active(trial.params):
                suggest(trial, name, dimension)
        frozen = self.memory.get_trials(deepcopy=False)[number]
        return Proposal(dict(frozen.params), dict(frozen.distributions), dict(frozen.system_attrs))

    def _study(self, trials: list[FrozenTrial]) -> optuna.Study:
        study = optuna.create_study(directions=self.directions, sampler=RandomSampler(self.seed))
        study.add_trials(trials)
        return study

    def tell(self, place: int, values: tuple[float, float] | None) -> None:
        """The end of the proposal that came in this place (from 0); None if its trial failed."""
        if values is None:
            self.memory.tell(place, state=TrialState.FAIL)
        else:
            self.memory.tell(place, list(values))


def suggest(trial: optuna.Trial, name: str, dimension: Range | Choices) -> None:
    distribution = distribution_of(dimension)
    if isinstance(distribution, FloatDistribution):
        trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    else:
        trial.suggest_categorical(name, distribution.choices)


def distribution_of(dimension: Range | Choices) -> FloatDistribution | CategoricalDistribution:
    if isinstance(dimension, Range):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return CategoricalDistribution(dimension.choices)


def make_sampler(name: str, seed: int) -> BaseSampler:
    """`tpe`, `gp`, `nsga2` or `random`; `grid` enqueues its points, so its sampler is never asked."""
    if name == "tpe":
        # Half of Optuna's default start-up: budgets here are tens of trials, not hundreds.
        return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=5)
    if name == "gp":
        return GPSampler(seed=seed, n_startup_trials=5)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=12)
    return RandomSampler(seed)
