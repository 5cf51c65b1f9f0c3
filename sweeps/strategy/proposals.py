"""What to try next: Optuna's samplers over the results of the searched trials, reproducible through interruptions.

The sampler sees an in-memory copy of the searched trials only: baselines and confirmation runs lie outside the space.
The copy and the sampler are made anew for each proposal, and the seed is (sweep seed, place), because a sampler may
keep notes that a restart loses (NSGA-II does). So a resumed sweep proposes what an unbroken one does, if the results
come in the same order and no proposal was made ahead (`ahead.py`).
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
from sweeps.strategy.tried import CLOSE, Tried

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
# When a fit of the GP fails, Optuna falls back to defaults; the user can do nothing about it.
logging.getLogger("optuna._gp.gp").setLevel(logging.ERROR)

SHOWN = 200
"""How many ended trials a sampler sees: of more, the best and the latest ones. It bounds the time of a proposal."""
GP_SERVES = 24
"""With more running trials than this, a GP takes turns with TPE, which proposes in a tenth of the time."""
DRAWS = 300
"""How many random configurations are drawn to find an untried one."""


@dataclass(frozen=True)
class Observation:
    """What the sampler is told of one earlier proposal."""

    params: Mapping[str, Any]
    values: tuple[float, float] | None = None
    """The last measured objectives, also of a stopped trial, as `Objectives.told` gives them; None if the trial runs or
    failed."""
    failed: bool = False
    shortfalls: Mapping[str, float] = field(default_factory=dict)
    """How far the trial misses each floor, by its name; 0 or less if it keeps it. Empty if there is no floor yet."""
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
        self.tried = Tried(self.distributions)

    def next(self, earlier: Sequence[Observation]) -> Proposal | None:
        """The next configuration, given all `earlier` proposals in order; None if all have been tried.

        From one call to the next, proposals are only appended to `earlier`; what is observed of them may change.
        """
        place = len(earlier)
        for one in earlier[self.tried.count :]:
            self.tried.add(one.params)
        if self.sampler == "grid" and place >= len(self.first):
            return None
        sampler = self._turn(earlier)
        seed = int(np.random.SeedSequence([self.seed, place]).generate_state(1)[0])
        study = optuna.create_study(
            directions=[StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in self.maximize],
            sampler=make_sampler(sampler, seed, len(self.distributions)),
        )
        if place < len(self.first):
            study.enqueue_trial(dict(self.first[place]))
        elif sampler not in ("random", "grid"):  # these two look at no results
            study.add_trials([self._frozen(one, sampler) for one in self._shown(earlier)])
        params = self._suggested(study.ask(), sampler)
        if place >= len(self.first) and self.tried.distance(params) < CLOSE:
            # A GP repeats a corner of the space once it is the best, or varies a setting that does not matter.
            other = self._untried(seed + 1)  # the same seed might draw the same again
            if other is None:
                return None
            params = other
        attrs = study.get_trials(deepcopy=False)[-1].system_attrs if sampler == "nsga2" else {}
        return Proposal(params, {name: self.distributions[name] for name in params}, dict(attrs))

    def _turn(self, earlier: Sequence[Observation]) -> str:
        """The sampler of this proposal. It depends on `earlier` alone, not on clocks."""
        running = sum(one.values is None and not one.failed for one in earlier)
        turns = -(-running // GP_SERVES)  # 3 for 49 to 72 running trials
        return "tpe" if self.sampler == "gp" and turns > 1 and len(earlier) % turns else self.sampler

    def _untried(self, seed: int) -> dict[str, Any] | None:
        """A random configuration that is close to none of the tried ones, or as far as possible; None if all are."""
        study = optuna.create_study(sampler=RandomSampler(seed))
        best, farthest = None, 0.0
        for _ in range(DRAWS):
            params = self._suggested(study.ask(), "random")
            distance = self.tried.distance(params)
            if distance >= CLOSE:
                return params
            if distance > farthest:
                best, farthest = params, distance
        return best

    def _suggested(self, trial: optuna.Trial, sampler: str) -> dict[str, Any]:
        """A value for each active dimension. The GP knows no conditions, so it is asked for the others, too."""
        params: dict[str, Any] = {}
        for name, dimension in self.space.space.items():
            active = dimension.active(params)
            if active or sampler == "gp":
                value = suggest(trial, name, self.distributions[name])
            if active:
                params[name] = value
        return params

    def _shown(self, earlier: Sequence[Observation]) -> list[Observation]:
        """All observations; of more than `SHOWN` measured ones, the best and the latest. They stay in order."""
        ended = [i for i, one in enumerate(earlier) if one.values is not None]
        if len(ended) <= SHOWN or self.sampler == "nsga2":  # NSGA-II needs all its ancestors, and is fast
            return list(earlier)
        running = [i for i, one in enumerate(earlier) if one.values is None and not one.failed]
        ranks = moocore.pareto_rank([earlier[i].values for i in ended], maximise=list(self.maximize))
        best = {ended[i] for i in np.argsort(ranks, kind="stable")[: SHOWN // 2]}
        ended = [*best, *[i for i in ended if i not in best][len(best) - SHOWN :]]
        return [earlier[i] for i in sorted([*running, *ended])]

    def _frozen(self, one: Observation, sampler: str) -> FrozenTrial:
        params = dict(one.params)
        if sampler == "gp":  # it looks only at dimensions that all trials have: inactive ones get a fixed value
            params = {name: params.get(name, middle(dist)) for name, dist in self.distributions.items()}
        ended = TrialState.COMPLETE if one.values is not None else TrialState.RUNNING
        return create_trial(
            state=TrialState.FAIL if one.failed else ended,
            params=params,
            distributions={name: self.distributions[name] for name in params},
            values=None if one.values is None else list(one.values),
            system_attrs=dict(one.system_attrs),
            constraints=dict(one.shortfalls) or None,
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
