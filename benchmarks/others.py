"""The searches that a user could take instead of ours: Optuna's samplers and Syne Tune's MO-ASHA."""

import warnings
from typing import Any

import moocore
import numpy as np
import optuna
from lcbench import EPOCHS, NAMES, Floats, Surrogate
from simulation import Running

warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)


class OptunaFull:
    """A multi-objective sampler of Optuna. It trains every trial to the end, since Optuna cannot stop such trials."""

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
    """Optuna's TPE and SuccessiveHalvingPruner. They support one objective, here the mean of the two."""

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
    """MOASHA of Syne Tune: non-dominated sorting with epsilon-nets at the rungs 3, 9 and 27.

    Version 0.16 has a bug: its priorities are the *indices* of the sorted rows instead of the *places* of the rows, so
    the priority of a trial is not its own place. `mended` corrects this.

    Args:
        surrogate: the surrogate.
        task: one of its tasks.
        seed: seed of the search.
        mended: whether the priorities are places.
        sampler: proposes configurations; None draws them at random, as MOASHA does.
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
        np.random.seed(seed)  # MOASHA uses this generator
        priority = places_by_rank() if mended else None
        self.scheduler = MOASHA({}, ["accuracy", "balanced"], True, "epoch", priority, EPOCHS, 3, 3, random_seed=seed)
        self.study = sampler and optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        self.trials_begun = 0

    def begin(self) -> Running:
        from syne_tune.backend.trial_status import Trial

        if self.study is not None:
            asked = self.study.ask(distributions(self.surrogate))
            config = np.array([[asked.params[name] for name in NAMES]])
        else:
            asked, config = None, self.surrogate.random(self.rng, 1)
        trial = Trial(self.trials_begun, {}, None)
        self.trials_begun += 1
        self.scheduler.on_trial_add(trial)
        return Running((trial, asked), self.surrogate.curves(self.task, config)[0])

    def goes_on(self, trial: Running) -> bool:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        accuracy, balanced = trial.curve[trial.epoch - 1].tolist()
        handle, asked = trial.handle
        told = {"epoch": trial.epoch, "accuracy": accuracy, "balanced": balanced}
        if self.scheduler.on_trial_result(handle, told) == SchedulerDecision.CONTINUE:
            return True
        if self.study is not None:  # Ray Tune's OptunaSearch, too, records a stopped trial as complete
            self.study.tell(asked, [accuracy, balanced])
        return False


def places_by_rank() -> Any:
    """Return Syne Tune's non-dominated priority as in its paper (arXiv 2106.12639), with its own epsilon-net."""
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
    """Return the surrogate's space in Optuna's terms."""
    return {
        name: optuna.distributions.FloatDistribution(r["lower"], r["upper"], log=bool(r["log"]))
        for name, r in surrogate.ranges.items()
    }
