"""The record of a sweep: one Optuna study. MLflow, plots and exports are derived from it.

The study's attributes hold the sweep's plan. Each trial holds its role, its full configuration, its result after each
epoch and how it ended: COMPLETE at the full budget, PRUNED if the sweep stopped it before, FAIL if it could not
continue. A trial that is RUNNING while no process runs the sweep was interrupted.
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

from sweeps.storage.ledger import Ledger
from sweeps.storage.optuna_store import Store, existing_store
from sweeps.storage.plan import Plan
from sweeps.storage.trial import Ended, Role, Spent, TrialRecord, trial_record
from tce_core.errors import TemporaryError, UserError
from tce_core.results import EpochResult

FORMAT = 4
"""Version of what a record stores. A record of another version is refused, because it would be misread."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


class NotBegun(UserError):
    """A study without a plan and without trials: its sweep was killed while it began."""


class Record(Ledger):
    """Reads and writes the study of one sweep. It caches all trials: only this object writes them in its process."""

    def __init__(self, store: Store, study: optuna.Study) -> None:
        super().__init__()
        self.store, self.study = store, study
        attrs = study.user_attrs
        self.plan = Plan.from_json(attrs["plan"])
        self.begun_plan = Plan.from_json(attrs.get("begun_plan", attrs["plan"]))
        """The plan before any extension: by it the command that began the sweep finds it again."""
        self.search_stopped: str | None = attrs.get("search_stopped")
        """Why the search stopped before the planned number of trials; None if it did not."""
        self.finished: bool = attrs.get("finished", False)
        """Whether the sweep came to its end. An interrupted sweep did not."""
        self._study_id = store.backend.get_study_id_from_name(study.study_name)
        for frozen in study.get_trials(deepcopy=False):
            self.keep(trial_record(frozen))

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
                raise UserError(
                    f"sweep '{plan.name}' already exists in {storage}; continue it with --resume, "
                    "or choose another --name"
                )
            study.set_metric_names([measure.name for measure in plan.objectives.pair])
            study.set_user_attr("format", FORMAT)
            study.set_user_attr("plan", asdict(plan))  # last: a sweep that is killed before this can begin again
            return study

        study = store.call(create)
        return store.call(lambda: cls(store, study))

    @classmethod
    def load(cls, storage: str, name: str) -> "Record":
        """Open an existing study.

        Raises:
            UserError: there is no sweep of this name (the message lists those that exist), or it is damaged.
            NotBegun: the sweep was killed before its plan was recorded.
        """
        store = existing_store(storage)
        names = [] if store is None else store.names()
        if store is None or name not in names:
            raise UserError(f"no sweep '{name}' in {storage}; it holds {', '.join(sorted(names)) or 'none'}")
        study = store.call(lambda: optuna.load_study(study_name=name, storage=store.backend))
        attrs = store.call(lambda: study.user_attrs)
        if "plan" not in attrs:
            foreign = attrs or len(study.directions) != 2 or store.call(lambda: study.get_trials(deepcopy=False))
            raise (UserError if foreign else NotBegun)(
                f"study '{name}' in {storage} is not a sweep of this program: it has no plan"
            )
        if attrs.get("format") != FORMAT:
            raise UserError(
                f"sweep '{name}' in {storage} was recorded by another version of this program (format "
                f"{attrs.get('format', 1)}, not {FORMAT}); use that version, or start a new sweep"
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
        """The studies in a storage, oldest first. It does not make an SQLite file that does not exist."""
        store = existing_store(storage)
        return [] if store is None else store.names()

    def stop_search(self, reason: str) -> None:
        """Try no more configurations, also after an interruption."""
        self._set_study_attr("search_stopped", reason)
        self.search_stopped = reason

    def finish(self) -> None:
        """Note that the sweep came to its end."""
        self._set_study_attr("finished", True)
        self.finished = True

    def reopen(self, plan: Plan) -> None:
        """Let a sweep continue under a changed plan; whether its search stops early is decided anew.

        The plan comes last: a process that is killed here leaves a sweep that ends at once when it is resumed.
        """
        self._set_study_attr("begun_plan", asdict(self.begun_plan))
        self._set_study_attr("finished", False)
        self._set_study_attr("search_stopped", None)
        self._set_study_attr("plan", asdict(plan))
        self.finished, self.search_stopped, self.plan = False, None, plan

    def begin(
        self,
        role: Role,
        label: str,
        config: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
        system_attrs: Mapping[str, Any] | None = None,
        **origin: int,
    ) -> TrialRecord:
        """Record a new RUNNING trial, completely or not at all.

        Args:
            origin: `repeats`, `retries`, `trunk` or `until`; see `TrialRecord`.

        Raises:
            TemporaryError: another process has begun a trial that this record does not have.
        """
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs={"role": role, "label": label, "config": dict(config), **origin},
            system_attrs=dict(system_attrs or {}),
        )
        backend, number, attempts = self.store.backend, len(self._trials), itertools.count()

        def create() -> None:
            if next(attempts) > 0 and backend.get_n_trials(self._study_id) > number:
                return  # the earlier attempt only seemed to fail
            trial_id = backend.create_new_trial(self._study_id, template_trial=trial)
            if backend.get_trial_number_from_id(trial_id) != number:
                raise self._run_by_another()

        self.store.call(create)
        return self.keep(replace(trial_record(trial), number=number))

    def retry(self, failed: TrialRecord, *, trunks_kept: bool = True) -> TrialRecord:
        """Begin a failed trial again, as a new trial with the same configuration.

        `trunks_kept`: whether the checkpoints of trunks are still there. Without its trunk the trial trains its own.
        """
        frozen = self.store.call(lambda: self.study.get_trials(deepcopy=False))[failed.number]
        known = {"repeats": failed.repeats, "trunk": failed.trunk if trunks_kept else None, "until": failed.until}
        origin = {"retries": failed.number} | {key: value for key, value in known.items() if value is not None}
        return self.begin(
            failed.role, failed.label, failed.config, failed.params, frozen.distributions, failed.system_attrs, **origin
        )

    def add_epoch(self, number: int, result: EpochResult, seconds: float) -> None:
        """Record an epoch's result and the running time of the sweep in seconds.

        It is idempotent: an epoch that is repeated after a crash keeps the time of its first end.
        """
        trial, before = self[number], result.epoch - 1 - self[number].start
        spent = trial.spent[before] if trial.trained > before else Spent(self.epochs + 1, seconds)
        self._set_attr(number, f"epoch:{result.epoch:04d}", {"result": result.as_dict(), "spent": asdict(spent)})
        results, moments = (*trial.results[:before], result), (*trial.spent[:before], spent)
        self.keep(replace(trial, results=results, spent=moments))

    def end(self, number: int, state: TrialState, reason: str | None, seconds: float) -> None:
        """Record the end of a trial (COMPLETE, PRUNED or FAIL), why, and the running time of the sweep in seconds."""
        trial, ended = self[number], Ended(self.epochs, seconds, reason)
        values = self.plan.objectives.values(trial.last) if state == TrialState.COMPLETE else None
        self._set_attr(number, "ended", asdict(ended))

        def set_state() -> None:
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # an attempt that seemed to fail
                self.store.backend.set_trial_state_values(self._trial_id(number), state, values)

        self.store.call(set_state)
        self.keep(replace(trial, state=state, values=values, ended=ended))

    def _trial_id(self, number: int) -> int:
        return self.store.backend.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _set_study_attr(self, key: str, value: Any) -> None:
        self.store.call(lambda: self.study.set_user_attr(key, value))

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        try:
            self.store.call(lambda: self.store.backend.set_trial_user_attr(self._trial_id(number), key, value))
        except optuna.exceptions.UpdateFinishedTrialError:
            raise self._run_by_another() from None

    def _run_by_another(self) -> TemporaryError:
        return TemporaryError(
            f"another process runs sweep '{self.plan.name}' in {self.store.url}; "
            "end one of them, then continue with --resume"
        )
