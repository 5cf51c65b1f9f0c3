"""What to try next: Optuna's samplers over the results of the searched trials, reproducible through interruptions.

The sampler sees an in-memory copy of the searched trials only: baselines and confirmation runs lie outside the space.
The copy and the sampler are made anew for each proposal, and the seed is (sweep seed, place), because a sampler may
keep notes that a restart loses (NSGA-II does). So a resumed sweep proposes what an unbroken one does.
"""

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import moocore
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search_spaces.dimensions import Choices, Range
from search_spaces.space import Space

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
# When a fit of the GP fails, Optuna falls back to defaults; the user can do nothing about it.
logging.getLogger("optuna._gp.gp").setLevel(logging.ERROR)

SHOWN = 200
"""How many trials a sampler sees: with more, the best and the latest ones. It bounds the time of a proposal."""
DRAWS = 300
"""How many random configurations are drawn to find an untried one."""
CLOSE = 0.005
"""Two configurations count as the same if they differ by less than this share of the range in every dimension."""


@dataclass(frozen=True)
class Observation:
    """What the sampler is told of one earlier proposal."""

    params: Mapping[str, Any]
    values: tuple[float, float] | None = None
    """The last measured objectives, also of a stopped trial; None if the trial runs or failed."""
    failed: bool = False
    shortfall: float | None = None
    """How far the trial misses the guard's floor; 0 or less if it keeps it, None if there is no floor yet."""
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """A configuration to try, as Optuna records it."""

    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]

    @property
    def label(self) -> str:
        """The configuration in a few words, such as `class_tilt t=1.2 lr=0.05`."""
        parts = []
        for name, value in self.params.items():
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            parts.append(text if name == "loss" else f"{name}={text}")
        return " ".join(parts)


class Proposer:
    """Asks a sampler for the next configuration, given the results of the earlier ones."""

    def __init__(
        self, space: Space, sampler: str, seed: int, maximize: Sequence[bool], first: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """`first`: configurations to propose before the sampler is asked, such as those of an earlier sweep."""
        self.space, self.sampler, self.seed, self.maximize = space, sampler, seed, tuple(maximize)
        self.first = enqueued(space, sampler, first)
        self.distributions = {name: distribution_of(dimension) for name, dimension in space.space.items()}

    def next(self, earlier: Sequence[Observation]) -> Proposal | None:
        """The next configuration, given all `earlier` proposals in order; None if all have been tried."""
        place = len(earlier)
        if self.sampler == "grid" and place >= len(self.first):
            return None
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        study = optuna.create_study(
            directions=[StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in self.maximize],
            sampler=make_sampler(self.sampler, seed, len(self.distributions)),
        )
        if place < len(self.first):
            study.enqueue_trial(dict(self.first[place]))
        elif self.sampler not in ("random", "grid"):  # these two look at no results
            study.add_trials([self._frozen(one) for one in self._shown(earlier)])
        params = self._suggested(study.ask())
        tried = [one.params for one in earlier]
        if place >= len(self.first) and self._distance(params, tried) < CLOSE:
            # A GP repeats a corner of the space once it is the best, or varies a setting that does not matter.
            other = self._untried(tried, seed + 1)  # the same seed might draw the same again
            if other is None:
                return None
            params = other
        attrs = study.get_trials(deepcopy=False)[-1].system_attrs if self.sampler == "nsga2" else {}
        return Proposal(params, {name: self.distributions[name] for name in params}, dict(attrs))

    def _untried(self, tried: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any] | None:
        """A random configuration that is close to none of the tried ones, or as far as possible; None if all are."""
        study = optuna.create_study(sampler=RandomSampler(seed))
        best, farthest = None, 0.0
        for _ in range(DRAWS):
            params = self._suggested(study.ask())
            distance = self._distance(params, tried)
            if distance >= CLOSE:
                return params
            if distance > farthest:
                best, farthest = params, distance
        return best

    def _distance(self, params: Mapping[str, Any], tried: Sequence[Mapping[str, Any]]) -> float:
        """The smallest distance to a tried configuration, in the largest coordinate of the unit cube.

        Configurations with different choices are infinitely far apart.
        """

        def distance(other: Mapping[str, Any]) -> float:
            if params.keys() != other.keys():
                return math.inf
            apart = [0.0]
            for name, value in params.items():
                distribution = self.distributions[name]
                if isinstance(distribution, FloatDistribution):
                    apart.append(abs(position(distribution, value) - position(distribution, other[name])))
                elif value != other[name]:
                    return math.inf
            return max(apart)

        return min(map(distance, tried), default=math.inf)

    def _suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        """A value for each active dimension. The GP knows no conditions, so it is asked for the others, too."""
        params: dict[str, Any] = {}
        for name, dimension in self.space.space.items():
            active = dimension.active(params)
            if active or self.sampler == "gp":
                value = suggest(trial, name, self.distributions[name])
            if active:
                params[name] = value
        return params

    def _shown(self, earlier: Sequence[Observation]) -> list[Observation]:
        """All observations, or the best and the latest, in order. NSGA-II needs its ancestors, and is fast."""
        if len(earlier) <= SHOWN or self.sampler == "nsga2":
            return list(earlier)
        measured = [i for i, one in enumerate(earlier) if one.values is not None]
        values = np.array([earlier[i].values for i in measured]).reshape(-1, 2)
        ranks = moocore.pareto_rank(values, maximise=list(self.maximize)) if measured else np.array([])
        best = {measured[i] for i in np.argsort(ranks, kind="stable")[: SHOWN // 2]}
        latest = [i for i in range(len(earlier)) if i not in best][len(best) - SHOWN :]
        return [earlier[i] for i in sorted({*best, *latest})]

    def _frozen(self, one: Observation) -> FrozenTrial:
        params = dict(one.params)
        if self.sampler == "gp":  # it looks only at dimensions that all trials have: inactive ones get a fixed value
            params = {name: params.get(name, middle(dist)) for name, dist in self.distributions.items()}
        ended = TrialState.COMPLETE if one.values is not None else TrialState.RUNNING
        return create_trial(
            state=TrialState.FAIL if one.failed else ended,
            params=params,
            distributions={name: self.distributions[name] for name in params},
            values=None if one.values is None else list(one.values),
            system_attrs=dict(one.system_attrs),
            constraints=None if one.shortfall is None else {"guard": one.shortfall},
        )


def enqueued(space: Space, sampler: str, first: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The configurations to propose before the sampler is asked: `first`, and for a grid all its other points."""
    grid = space.grid() if sampler == "grid" else []
    return [*first, *(point for point in grid if point not in first)]


def suggest(trial: optuna.Trial, name: str, distribution: FloatDistribution | CategoricalDistribution) -> Any:
    """Ask Optuna for a value of one dimension."""
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    return trial.suggest_categorical(name, distribution.choices)


def distribution_of(dimension: Range | Choices) -> FloatDistribution | CategoricalDistribution:
    """A dimension of a space, as Optuna states it."""
    if isinstance(dimension, Range):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return CategoricalDistribution(dimension.choices)


def position(distribution: FloatDistribution, value: float) -> float:
    """Where a value lies in its range, 0 (low) to 1 (high), on the scale of the range."""
    low, high = distribution.low, distribution.high
    if distribution.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def middle(distribution: FloatDistribution | CategoricalDistribution) -> Any:
    """The middle of a range on its own scale, or the first choice."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    low, high = distribution.low, distribution.high
    return (low * high) ** 0.5 if distribution.log else (low + high) / 2


def make_sampler(name: str, seed: int, dimensions: int) -> BaseSampler:
    """One of `gp`, `tpe`, `nsga2`, `random`; `grid` enqueues its points, so its sampler is never asked.

    The first proposals, three more than the space has dimensions, are random. A sweep has tens of trials; 10 random
    ones for the 7 dimensions of LCBench did well.
    """
    if name == "gp":
        import torch

        torch.set_num_threads(1)  # the trainings need the other cores; one thread also gives the same sums each time
        return GPSampler(seed=seed, n_startup_trials=dimensions + 3)
    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=dimensions + 3, constant_liar=True)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=12)
    return RandomSampler(seed)
