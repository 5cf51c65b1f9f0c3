"""The record of a sweep: one Optuna study. Everything else (MLflow, plots, exports) is derived from it.

A study holds the sweep's plan in its attributes and every trial with its role, its full configuration, its result
after each epoch and how it ended: COMPLETE at the full budget, PRUNED if it was stopped before, FAIL if it could not go
on. RUNNING means interrupted.
"""

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from sweeps.storage.optuna_store import Store, sqlite_file
from sweeps.storage.plan import Plan
from sweeps.storage.trial import Ended, Role, Spent, TrialRecord, trial_record
from tce_core.errors import UserError
from tce_core.results import EpochResult

optuna.logging.set_verbosity(optuna.logging.WARNING)


class NotBegun(UserError):
    """A study without a plan or a trial: its sweep was killed as it began."""


class Record:
    """Reads and writes one sweep's study. Reading is cached: within a process only this object writes it."""

    def __init__(self, store: Store, study: optuna.Study) -> None:
        self.store, self.study = store, study
        attrs = study.user_attrs
        self.plan = Plan.from_json(attrs["plan"])
        self.search_stopped: str | None = attrs.get("search_stopped")
        """Why no more configurations are tried though fewer than planned were, if so."""
        self.finished: bool = attrs.get("finished", False)
        """Whether the sweep has come to its end; one that was interrupted has not."""
        self._trials: dict[int, TrialRecord] = {}
        self._roles: dict[Role, list[int]] = {"baseline": [], "search": [], "confirm": []}
        self.running: set[int] = set()
        """Numbers of the trials that have begun and not ended."""
        for frozen in study.get_trials(deepcopy=False):
            self._keep(trial_record(frozen))
        self.epochs = sum(trial.epoch for trial in self._trials.values())
        """Spent by all trials together."""

    @classmethod
    def create(cls, storage: str, plan: Plan) -> "Record":
        """Begin a new study.

        Raises:
            UserError: a sweep of this name exists, or the storage cannot be used.
        """
        directions = [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in plan.objectives.maximize]
        store = Store(storage)

        def create() -> optuna.Study:
            study = optuna.create_study(
                storage=store.backend, study_name=plan.name, directions=directions, load_if_exists=True
            )
            if study.user_attrs or study.get_trials(deepcopy=False) or study.directions != directions:
                raise name_taken_error(storage, plan.name)
            study.set_metric_names([measure.name for measure in plan.objectives.pair])
            study.set_user_attr("plan", asdict(plan))  # last: what was killed before this is begun again
            return study

        study = store.call(create)
        return store.call(lambda: cls(store, study))

    @classmethod
    def load(cls, storage: str, name: str) -> "Record":
        """Open an existing study.

        Raises:
            UserError: no sweep of this name, and the message lists those that exist; or it is damaged.
            NotBegun: it was killed before its plan was recorded.
        """
        store = _existing(storage)
        names = [] if store is None else _names(store)
        if store is None or name not in names:
            raise UserError(f"no sweep '{name}' in {storage}; it holds {', '.join(sorted(names)) or 'none'}")
        study = store.call(lambda: optuna.load_study(study_name=name, storage=store.backend))
        attrs = store.call(lambda: study.user_attrs)
        if "plan" not in attrs:
            foreign = attrs or len(study.directions) != 2 or store.call(lambda: study.get_trials(deepcopy=False))
            raise (UserError if foreign else NotBegun)(
                f"study '{name}' in {storage} is not a sweep of this program: it has no plan"
            )
        try:
            return store.call(lambda: cls(store, study))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(
                f"study '{name}' in {storage} is damaged, or of another version of this program: {reason}"
            ) from None

    @staticmethod
    def names(storage: str) -> list[str]:
        """The studies in a storage, the oldest first. Looking does not make an SQLite file that is not there."""
        store = _existing(storage)
        return [] if store is None else _names(store)

    def stop_search(self, reason: str) -> None:
        """No more configurations will be tried, also after an interruption."""
        self.store.call(lambda: self.study.set_user_attr("search_stopped", reason))
        self.search_stopped = reason

    def finish(self) -> None:
        self.store.call(lambda: self.study.set_user_attr("finished", True))
        self.finished = True

    def trials(self, *roles: Role) -> list[TrialRecord]:
        """In the order of their numbers; without roles, all."""
        numbers = sorted(number for role in roles or self._roles for number in self._roles[role])
        return [self._trials[number] for number in numbers]

    def count(self, role: Role) -> int:
        return len(self._roles[role])

    def __getitem__(self, number: int) -> TrialRecord:
        return self._trials[number]

    def begin(
        self,
        role: Role,
        label: str,
        config: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
        repeats: int | None = None,
    ) -> TrialRecord:
        """Record a new RUNNING trial, whole or not at all.

        Raises:
            UserError: another process has begun one that this record does not have.
        """
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs={"role": role, "label": label, "config": dict(config)}
            | ({} if repeats is None else {"repeats": repeats}),
            system_attrs=dict(system_attrs or {}),
        )
        storage, study_id = self.study._storage, self.study._study_id
        number, attempts = len(self._trials), itertools.count()

        def create() -> None:
            if next(attempts) > 0 and storage.get_n_trials(study_id) > number:
                return  # what seemed to fail did not
            trial_id = storage.create_new_trial(study_id, template_trial=trial)
            if storage.get_trial_number_from_id(trial_id) != number:
                raise self._driven_by_another()

        self.store.call(create)
        return self._keep(replace(trial_record(trial), number=number))

    def add_epoch(self, number: int, result: EpochResult, seconds: float) -> None:
        """Record an epoch's result, and how long the sweep had been at work.

        Idempotent: an epoch that is repeated after a crash counts from when it was first done.
        """
        trial, before = self._trials[number], result.epoch - 1
        spent = trial.spent[before] if trial.epoch > before else Spent(self.epochs + 1, seconds)
        self._set_attr(number, f"epoch:{result.epoch:04d}", {"result": result.as_dict(), "spent": asdict(spent)})
        results, moments = (*trial.results[:before], result), (*trial.spent[:before], spent)
        self._trials[number] = replace(trial, results=results, spent=moments)
        self.epochs += self._trials[number].epoch - trial.epoch

    def end(self, number: int, state: TrialState, reason: str | None, seconds: float) -> None:
        """Record the end of a trial: COMPLETE, PRUNED or FAIL, why, and how long the sweep had been at work."""
        trial, ended = self._trials[number], Ended(self.epochs, seconds, reason)
        values = self.plan.objectives.values(trial.last.report) if state == TrialState.COMPLETE else None
        self._set_attr(number, "ended", asdict(ended))

        def tell() -> None:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # an attempt that seemed to fail
                self.study._storage.set_trial_state_values(self._id(number), state, values)

        self.store.call(tell)
        self._keep(replace(trial, state=state, values=values, ended=ended))

    def _id(self, number: int) -> int:
        return self.study._storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        try:
            self.store.call(lambda: self.study._storage.set_trial_user_attr(self._id(number), key, value))
        except optuna.exceptions.UpdateFinishedTrialError:
            raise self._driven_by_another() from None

    def _driven_by_another(self) -> UserError:
        return UserError(
            f"another process is at work on sweep '{self.plan.name}' in {self.store.url}; "
            "end one of them, then go on with --resume"
        )

    def _keep(self, trial: TrialRecord) -> TrialRecord:
        known = trial.number in self._trials
        self._trials[trial.number] = trial  # first: MLflow's thread finds by role what it then looks up here
        if not known:
            self._roles[trial.role].append(trial.number)
        (self.running.discard if trial.state.is_finished() else self.running.add)(trial.number)
        return trial


def _existing(storage: str) -> Store | None:
    """None where an SQLite file is yet to be made."""
    file = sqlite_file(storage)
    return None if file is not None and file.parent.is_dir() and not file.exists() else Store(storage)


def _names(store: Store) -> list[str]:
    return [str(name) for name in store.call(lambda: optuna.get_all_study_names(store.backend))]


def name_taken_error(storage: str, name: str) -> UserError:
    return UserError(f"sweep '{name}' already exists in {storage}; go on with --resume, or choose another --name")
