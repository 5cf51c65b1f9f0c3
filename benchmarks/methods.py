"""The searches to compare: ours, which runs its own code, and the alternatives of `others`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from lcbench import EPOCHS, NAMES, Surrogate
from others import OptunaFull, OptunaScalarAsha, SyneTuneMoasha
from simulation import Running

from search_spaces.space import SearchDefaults
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.observations import Observations
from sweeps.strategy.proposals import Observation
from sweeps.strategy.rungs import default_rungs
from sweeps.strategy.search import Search
from tce_core.results import EpochResult, Scores

# Our search runs unchanged, with its space and its record. So each hyperparameter of the surrogate takes the name of a
# `TrialConfig` setting of `class_tilt` that allows its range.
STAND_IN = dict(
    zip(NAMES, ("poly_power", "lr", "momentum", "weight_decay", "clip_grad_norm", "t", "jitter"), strict=True)
)


class Ours:
    """Our search, `sweeps.strategy.search.Search`. It hears of every epoch, as it does from Ray Tune.

    Args:
        surrogate: the surrogate.
        task: one of its tasks.
        seed: seed of the search.
        sampler: a sampler of `search_spaces.space.Sampler`.
        rungs: epochs after which only the better trials continue.
        keep: share of the trials that continues at a rung.
        search: the class of the search.
    """

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
        raw = {"trial": {"loss": "class_tilt", "epochs": EPOCHS, "crop": [32, 32]}, "space": space}
        plan = Plan(
            name="one",
            objective="worst_iou",
            allowance=0.0,
            sampler=sampler,
            seed=seed,
            trials=10**6,
            confirm=0,
            dataset="",
            fingerprint="",
            space=raw,
            space_file="lcbench",
            workers=1,
            cpus_per_worker=1,
            gpus_per_worker=0.0,
            rungs=rungs,
            keep=keep,
        )
        self.search = search(Record.create("memory", plan))

    def begin(self) -> Running:
        """Begin the next trial."""
        trial = self.search.next()
        assert trial is not None
        config = np.array([[trial.params[STAND_IN[name]] for name in NAMES]])
        return Running(trial.number, self.surrogate.curves(self.task, config)[0])

    def goes_on(self, trial: Running) -> bool:
        """Report the trial's latest epoch, and return whether it continues."""
        accuracy, balanced = 1 - trial.curve[trial.epoch - 1]
        # The IoUs of two classes, with mean 0.5 + accuracy / 2 and worst balanced / 2: the same trade-off.
        worst, mean = balanced / 2, 0.5 + accuracy / 2
        ious = (float(worst), float(2 * mean - worst))
        result = EpochResult(trial.epoch, 0.0, 0.0, (Scores(0.0, ious),), None, 1.0, 0.0)
        goes_on = self.search.record_epoch(trial.handle, result)
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


def ours(**settings: Any) -> Callable[..., Any]:
    """Return a method of `METHODS`: `Ours` with these settings."""
    return lambda surrogate, task, seed: Ours(surrogate, task, seed, **settings)


def full(sampler: Callable[..., optuna.samplers.BaseSampler], **settings: Any) -> Callable[..., Any]:
    """Return a method of `METHODS`: `OptunaFull` with this sampler and its settings."""
    return lambda surrogate, task, seed: OptunaFull(surrogate, task, sampler(seed=seed, **settings))


S = optuna.samplers
METHODS: dict[str, Callable[[Surrogate, str, int], Any]] = {
    "ours": ours(),
    "ours, TPE": ours(sampler="tpe"),
    "ours, random": ours(sampler="random"),
    "Optuna GP, full": full(S.GPSampler),
    "Optuna TPE, full": full(S.TPESampler),
    "Optuna NSGA-II, full": full(S.NSGAIISampler, population_size=12),  # the default would draw the first 50 at random
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
"""Other settings of our search, compared on the first twelve tasks."""
