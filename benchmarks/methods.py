"""The searches that are compared: ours, through its own code, and what a user would take instead."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import optuna
from lcbench import EPOCHS, NAMES, Floats, Surrogate

from search_spaces.space import SearchDefaults
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.observations import Observations
from sweeps.strategy.proposals import Observation
from sweeps.strategy.rungs import default_rungs
from sweeps.strategy.search import Search
from tce_core.results import EpochResult

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)

# The surrogate's hyperparameters travel under the names of settings of `TrialConfig` that allow their ranges, so that
# our search runs as it is, space, record and all.
STAND_IN = dict(
    zip(NAMES, ("focal_gamma", "lr", "momentum", "weight_decay", "weight_power", "t", "tilt_warmup"), strict=True)
)


@dataclass
class Running:
    """A trial under way: its curve (epochs, 2), which nobody has seen beyond `epoch`."""

    handle: Any
    curve: Floats
    epoch: int = 0


class Ours:
    """`sweeps.strategy.search.Search`, told of each epoch as Ray Tune would tell it."""

    def __init__(
        self,
        surrogate: Surrogate,
        task: str,
        seed: int,
        sampler: str = "gp",
        rungs: tuple[int, ...] = default_rungs(EPOCHS),
        keep: float = SearchDefaults().keep,
        search: type[Search] = Search,
    ) -> None:
        self.surrogate, self.task = surrogate, task
        space = {
            STAND_IN[name]: {"low": r["lower"], "high": r["upper"], "log": bool(r["log"])}
            for name, r in surrogate.ranges.items()
        }
        raw = {"trial": {"epochs": EPOCHS, "crop": [32, 32]}, "space": space}
        plan = Plan("one", "worst_iou", 0.0, sampler, seed, 10**6, 0, "", "", raw, "lcbench", 1, 1, 0.0, rungs, keep)
        self.search = search(Record.create("memory", plan))

    def begin(self) -> Running:
        trial = self.search.next()
        assert trial is not None
        config = np.array([[trial.params[STAND_IN[name]] for name in NAMES]])
        return Running(trial.number, self.surrogate.curves(self.task, config)[0])

    def goes_on(self, trial: Running) -> bool:
        accuracy, balanced = 1 - trial.curve[trial.epoch - 1]
        # Two classes whose mean is 0.5 + accuracy / 2 and whose worst is balanced / 2: the same trade-off.
        worst, mean = balanced / 2, 0.5 + accuracy / 2
        ious = (float(worst), float(2 * mean - worst))
        goes_on = self.search.record_epoch(trial.handle, EpochResult(trial.epoch, 0.0, 0.0, ious, {}, None, 1.0, 0.0))
        if not goes_on:
            self.search.record_end(trial.handle)
        return goes_on


class CompleteOnly(Observations):
    """Observations without the values of stopped trials: what a plain PRUNED means to most samplers."""

    def of_trial(self, trial: TrialRecord) -> Observation:
        return Observation(trial.params, failed=True) if trial.stopped else super().of_trial(trial)


class Untold(Search):
    """Our search whose sampler does not learn from stopped trials."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.observations = CompleteOnly(record, self.outcome)


class OptunaFull:
    """One of Optuna's multi-objective samplers; every trial is trained to its end, as Optuna cannot stop them."""

    def __init__(self, surrogate: Surrogate, task: str, sampler: optuna.samplers.BaseSampler) -> None:
        self.surrogate, self.task = surrogate, task
        self.study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def begin(self) -> Running:
        trial = self.study.ask(distributions(self.surrogate))
        return Running(trial, self.surrogate.curves(self.task, np.array([[trial.params[n] for n in NAMES]]))[0])

    def goes_on(self, trial: Running) -> bool:
        if trial.epoch < EPOCHS:
            return True
        self.study.tell(trial.handle, trial.curve[-1].tolist())
        return False


class OptunaScalarAsha(OptunaFull):
    """Optuna's TPE and its SuccessiveHalvingPruner on the mean of the two objectives, which is what they can do."""

    def __init__(self, surrogate: Surrogate, task: str, seed: int) -> None:
        super().__init__(surrogate, task, optuna.samplers.TPESampler(seed=seed))
        self.study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=3, reduction_factor=3),
        )

    def goes_on(self, trial: Running) -> bool:
        value = float(trial.curve[trial.epoch - 1].mean())
        trial.handle.report(value, trial.epoch)
        if trial.epoch < EPOCHS and not trial.handle.should_prune():
            return True
        pruned = optuna.trial.TrialState.PRUNED
        self.study.tell(
            trial.handle, value if trial.epoch == EPOCHS else None, pruned if trial.epoch < EPOCHS else None
        )
        return False


class SyneTuneMoasha:
    """Syne Tune's MOASHA, which draws at random; non-dominated sorting with epsilon-nets, rungs 3, 9 and 27.

    As of 0.16 its priorities are the *indices* of the sorted rows, where their places are meant: a trial is judged by
    which row happens to be the worst. `mended` gives it the places.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        task: str,
        seed: int,
        mended: bool = False,
        sampler: optuna.samplers.BaseSampler | None = None,
    ) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        self.surrogate, self.task = surrogate, task
        self.rng = np.random.default_rng(seed)
        np.random.seed(seed)  # which is what MOASHA draws from
        priority = places_by_rank() if mended else None
        self.scheduler = MOASHA({}, ["accuracy", "balanced"], True, "epoch", priority, EPOCHS, 3, 3, random_seed=seed)
        self.study = sampler and optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self.begun = 0

    def begin(self) -> Running:
        from syne_tune.backend.trial_status import Trial

        if self.study is not None:
            asked = self.study.ask(distributions(self.surrogate))
            config = np.array([[asked.params[name] for name in NAMES]])
        else:
            asked, config = None, self.surrogate.random(self.rng, 1)
        trial = Trial(self.begun, {}, None)
        self.begun += 1
        self.scheduler.on_trial_add(trial)
        return Running((trial, asked), self.surrogate.curves(self.task, config)[0])

    def goes_on(self, trial: Running) -> bool:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        accuracy, balanced = trial.curve[trial.epoch - 1].tolist()
        handle, asked = trial.handle
        told = {"epoch": trial.epoch, "accuracy": accuracy, "balanced": balanced}
        if self.scheduler.on_trial_result(handle, told) == SchedulerDecision.CONTINUE:
            return True
        if self.study is not None:  # as OptunaSearch records it under Ray Tune: complete, whatever the epoch
            self.study.tell(asked, [accuracy, balanced])
        return False


def places_by_rank() -> Any:
    """Syne Tune's non-dominated priority as its paper has it (arXiv 2106.12639), from its own epsilon-net."""
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import MOPriority
    from syne_tune.optimizer.schedulers.multiobjective.non_dominated_priority import compute_epsilon_net

    class PlacesByRank(MOPriority):
        def priority_unsafe(self, objectives: Floats) -> Floats:
            ranks = moocore.pareto_rank(objectives)
            places = np.empty(len(objectives))
            for rank in np.unique(ranks):
                rows = ranks == rank
                places[rows] = (ranks < rank).sum() + compute_epsilon_net(objectives[rows], dim=0)
            return places

    return PlacesByRank()


def distributions(surrogate: Surrogate) -> dict[str, optuna.distributions.BaseDistribution]:
    return {
        name: optuna.distributions.FloatDistribution(r["lower"], r["upper"], log=bool(r["log"]))
        for name, r in surrogate.ranges.items()
    }


def ours(**settings: Any) -> Callable[..., Any]:
    return lambda surrogate, task, seed: Ours(surrogate, task, seed, **settings)


def full(sampler: Callable[..., optuna.samplers.BaseSampler], **settings: Any) -> Callable[..., Any]:
    return lambda surrogate, task, seed: OptunaFull(surrogate, task, sampler(seed=seed, **settings))


S = optuna.samplers
METHODS: dict[str, Callable[[Surrogate, str, int], Any]] = {
    "ours": ours(),
    "ours, TPE": ours(sampler="tpe"),
    "ours, random": ours(sampler="random"),
    "Optuna GP, full": full(S.GPSampler),
    "Optuna TPE, full": full(S.TPESampler),
    "Optuna NSGA-II, full": full(S.NSGAIISampler, population_size=12),  # by default its first 50 are random
    "random, full": full(S.RandomSampler),
    "Optuna TPE, scalar ASHA": OptunaScalarAsha,
    "Syne Tune MO-ASHA": SyneTuneMoasha,
    "MO-ASHA, mended": lambda surrogate, task, seed: SyneTuneMoasha(surrogate, task, seed, True),
    "MO-ASHA, mended, TPE": lambda *given: SyneTuneMoasha(*given, True, S.TPESampler(seed=given[-1])),
}
VARIANTS: dict[str, Callable[[Surrogate, str, int], Any]] = {
    "keep 1/3": ours(keep=1 / 3),
    "keep 1/2": ours(keep=1 / 2),
    "rungs 3 9 26, keep 1/2": ours(rungs=(3, 9, 26), keep=1 / 2),
    "rungs 5 16": ours(rungs=(5, 16)),
    "rung 9": ours(rungs=(9,)),
    "stopped trials untold": ours(search=Untold),
    "TPE, untold": ours(sampler="tpe", search=Untold),
}
"""Other settings of ours, for the choice among them on the first twelve tasks."""


def events(method: Any, slots: int, budget: int) -> Iterator[tuple[int, bool, Floats]]:
    """Run a method in simulated time, `slots` trials at once, each epoch as long as every other.

    Yields: epochs spent by all trials together, whether the trial that took the last one is fully trained, its values.
    """
    running: list[Running] = []
    spent = 0
    while True:
        for place in range(slots):
            if spent == budget:
                return
            if place == len(running):
                running.append(method.begin())
            trial = running[place]
            trial.epoch += 1
            spent += 1
            yield spent, trial.epoch == EPOCHS, trial.curve[trial.epoch - 1]
            if not method.goes_on(trial):
                running[place] = method.begin()
