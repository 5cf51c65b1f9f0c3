"""What to try next: Optuna's samplers over what the searched trials have shown, reproducible through interruptions.

The sampler sees an in-memory copy of the searched trials only; baselines and confirming runs lie outside the space.
Copy and sampler are made anew for each proposal, the sampler seeded by (sweep seed, place), since either may keep notes
that a restart loses (NSGA-II does): a sweep that was killed and resumed proposes what an unbroken one would have.
"""

import logging
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
# A fit of the GP that fails now and then is made up for by Optuna's defaults; who runs a sweep can do nothing about it.
logging.getLogger("optuna._gp.gp").setLevel(logging.ERROR)

MEMORY = 200
"""How many trials a sampler is shown; with more, the best and the latest. Keeps the time of an ask from growing."""
DRAWS = 300
"""How many random configurations may have been tried before all are taken to have been."""


@dataclass(frozen=True)
class Observation:
    """What the sampler is told of one earlier proposal."""

    params: Mapping[str, Any]
    values: tuple[float, float] | None = None
    """The last ones measured, at whatever epoch the trial was stopped; None: it is running, or it failed."""
    failed: bool = False
    shortfall: float | None = None
    """How far it is from keeping the guard; 0 or less: it keeps it. None: there is nothing to keep yet."""
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    system_attrs: dict[str, Any]


class Proposer:
    """Asks a sampler for the next configuration, given what the earlier ones came to."""

    def __init__(
        self, space: Space, sampler: str, seed: int, maximize: Sequence[bool], first: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """`first`: configurations to propose before any of the sampler's, such as those of an earlier sweep."""
        self.space, self.sampler, self.seed, self.maximize = space, sampler, seed, tuple(maximize)
        self.first = enqueued(space, sampler, first)
        self.distributions = {name: distribution_of(dimension) for name, dimension in space.space.items()}

    def next(self, earlier: Sequence[Observation]) -> Proposal | None:
        """The next configuration to try, after those `earlier` proposed, in their order; None: all have been tried."""
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
        elif self.sampler not in ("random", "grid"):  # which look at nothing
            study.add_trials([self._frozen(one) for one in self._remembered(earlier)])
        params = self._suggested(study.ask())
        tried = [dict(one.params) for one in earlier]
        if place >= len(self.first) and params in tried:  # such as where a sampler varies what does not matter
            other = optuna.create_study(sampler=RandomSampler(seed + 1))  # the same seed might draw the same again
            drawn = (self._suggested(other.ask()) for _ in range(DRAWS))
            untried = next((params for params in drawn if params not in tried), None)
            if untried is None:
                return None
            params = untried
        attrs = study.get_trials(deepcopy=False)[-1].system_attrs if self.sampler == "nsga2" else {}
        return Proposal(params, {name: self.distributions[name] for name in params}, dict(attrs))

    def _suggested(self, trial: optuna.Trial) -> dict[str, Any]:
        """A value for each dimension that matters. The GP, which knows no conditions, is asked for the others, too."""
        params: dict[str, Any] = {}
        for name, dimension in self.space.space.items():
            active = dimension.active(params)
            if active or self.sampler == "gp":
                value = suggest(trial, name, self.distributions[name])
            if active:
                params[name] = value
        return params

    def _remembered(self, earlier: Sequence[Observation]) -> list[Observation]:
        """All of them, or the best and the latest, in their order. NSGA-II needs its ancestors, and asks in no time."""
        if len(earlier) <= MEMORY or self.sampler == "nsga2":
            return list(earlier)
        measured = [i for i, one in enumerate(earlier) if one.values is not None]
        values = np.array([earlier[i].values for i in measured]).reshape(-1, 2)
        ranks = moocore.pareto_rank(values, maximise=list(self.maximize)) if measured else np.array([])
        best = {measured[i] for i in np.argsort(ranks, kind="stable")[: MEMORY // 2]}
        latest = [i for i in range(len(earlier)) if i not in best][len(best) - MEMORY :]
        return [earlier[i] for i in sorted({*best, *latest})]

    def _frozen(self, one: Observation) -> FrozenTrial:
        params = dict(one.params)
        if self.sampler == "gp":  # which looks only at what all trials have: so what did not matter gets a fixed value
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
    """What is proposed before the sampler is asked: `first`, and for a grid all its other points."""
    grid = space.grid() if sampler == "grid" else []
    return [*first, *(point for point in grid if point not in first)]


def suggest(trial: optuna.Trial, name: str, distribution: FloatDistribution | CategoricalDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    return trial.suggest_categorical(name, distribution.choices)


def distribution_of(dimension: Range | Choices) -> FloatDistribution | CategoricalDistribution:
    if isinstance(dimension, Range):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    return CategoricalDistribution(dimension.choices)


def middle(distribution: FloatDistribution | CategoricalDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    low, high = distribution.low, distribution.high
    return (low * high) ** 0.5 if distribution.log else (low + high) / 2


def make_sampler(name: str, seed: int, dimensions: int) -> BaseSampler:
    """`gp`, `tpe`, `nsga2` or `random`; `grid` enqueues its points, so its sampler is never asked.

    The first proposals, three more than the space has `dimensions`, are random: budgets are tens of trials, and 10 for
    the 7 dimensions of LCBench did well.
    """
    if name == "gp":
        import torch

        torch.set_num_threads(1)  # of this process: the trainings need the others, and the same sums come out again
        return GPSampler(seed=seed, n_startup_trials=dimensions + 3)
    if name == "tpe":
        return TPESampler(seed=seed, n_startup_trials=dimensions + 3, constant_liar=True)
    if name == "nsga2":
        return NSGAIISampler(seed=seed, population_size=12)
    return RandomSampler(seed)
