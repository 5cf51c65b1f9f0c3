"""The record of a sweep: one Optuna study. Everything else (MLflow, plots, exports) is derived from it.

A study holds the sweep's plan in its attributes and every trial with its role, its full configuration, its result
after each epoch and why it ended: COMPLETE at the full budget, FAIL with a reason. RUNNING means interrupted.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from sweeps.objectives import Objective, Objectives
from tce_core.errors import UserError
from tce_core.results import EpochResult

Role = Literal["baseline", "search", "confirm"]
optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Plan:
    """What a sweep was asked to do. Saved in the record, so that `--resume` needs the name alone."""

    name: str
    objective: Objective
    allowance: float
    sampler: str
    seed: int
    trials: int
    confirm: int
    dataset: str
    """Path of the Arrow data set."""
    fingerprint: str
    space: dict[str, Any]
    """The search space as loaded, overrides applied."""
    space_file: str
    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def objectives(self) -> Objectives:
        return Objectives.led_by(self.objective, self.allowance)


@dataclass(frozen=True)
class TrialRecord:
    number: int
    role: Role
    label: str
    state: TrialState
    config: dict[str, Any]
    params: dict[str, Any]
    results: tuple[EpochResult, ...]
    values: tuple[float, float] | None
    reason: str | None
    of: int | None
    """For a confirming run: the trial it repeats with another seed."""

    @property
    def complete(self) -> bool:
        return self.state == TrialState.COMPLETE

    @property
    def last(self) -> EpochResult:
        return self.results[-1]


class Record:
    """Reads and writes one sweep's study. Reading is cached: within a process only this object writes it."""

    def __init__(self, study: optuna.Study) -> None:
        self.study = study
        self.plan = Plan(**study.user_attrs["plan"])
        self._trials = {trial.number: _trial_record(trial) for trial in study.get_trials(deepcopy=False)}

    @classmethod
    def create(cls, storage: str, plan: Plan) -> "Record":
        """Begin a new study.

        Raises:
            UserError: a sweep of this name exists, or the storage cannot be used.
        """
        directions = [StudyDirection.MAXIMIZE if up else StudyDirection.MINIMIZE for up in plan.objectives.maximize]
        try:
            study = optuna.create_study(storage=_open(storage), study_name=plan.name, directions=directions)
        except optuna.exceptions.DuplicatedStudyError:
            raise taken(storage, plan.name) from None
        study.set_metric_names([measure.name for measure in plan.objectives.pair])
        study.set_user_attr("plan", asdict(plan))
        return cls(study)

    @classmethod
    def load(cls, storage: str, name: str) -> "Record":
        """Open an existing study.

        Raises:
            UserError: no sweep of this name; the message lists those that exist.
        """
        names = cls.names(storage)
        if name not in names:
            raise UserError(f"no sweep '{name}' in {storage}; it holds {', '.join(sorted(names)) or 'none'}")
        study = optuna.load_study(study_name=name, storage=_open(storage))
        if "plan" not in study.user_attrs:
            raise UserError(f"study '{name}' in {storage} is not a sweep of this program: it has no plan")
        return cls(study)

    @staticmethod
    def names(storage: str) -> list[str]:
        """The studies in a storage, the oldest first. Looking does not make an SQLite file that is not there."""
        return [] if _is_missing_file(storage) else [str(name) for name in optuna.get_all_study_names(_open(storage))]

    def trials(self, *roles: Role) -> list[TrialRecord]:
        trials = list(self._trials.values())  # a copy: MLflow's thread reads while the sweep writes
        return [trial for trial in trials if not roles or trial.role in roles]

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
        of: int | None = None,
    ) -> TrialRecord:
        """Record a new RUNNING trial, whole or not at all."""
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(params or {}),
                distributions=dict(distributions or {}),
                user_attrs={"role": role, "label": label, "config": dict(config), "of": of},
                system_attrs=dict(system_attrs or {}),
            )
        )
        return self._refresh(len(self._trials))

    def add_epoch(self, number: int, result: EpochResult) -> None:
        """Record an epoch's result. Idempotent: an epoch repeated after a crash writes the same attribute again."""
        trial = self._trials[number]
        self._set_attr(number, f"epoch:{result.epoch:04d}", result.as_dict())
        kept = tuple(r for r in trial.results if r.epoch < result.epoch)
        self._trials[number] = replace(trial, results=(*kept, result))

    def complete(self, number: int) -> None:
        values = self.plan.objectives.values(self._trials[number].last.report)
        self.study.tell(number, list(values))
        self._refresh(number)

    def fail(self, number: int, reason: str) -> None:
        self._set_attr(number, "reason", reason)
        self.study.tell(number, state=TrialState.FAIL)
        self._refresh(number)

    def _set_attr(self, number: int, key: str, value: Any) -> None:
        storage = self.study._storage
        storage.set_trial_user_attr(
            storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number), key, value
        )

    def _refresh(self, number: int) -> TrialRecord:
        self._trials[number] = _trial_record(self.study.get_trials(deepcopy=False)[number])
        return self._trials[number]


def taken(storage: str, name: str) -> UserError:
    return UserError(f"sweep '{name}' already exists in {storage}; go on with --resume, or choose another --name")


def _is_missing_file(storage: str) -> bool:
    file = Path(storage.removeprefix("sqlite:///"))
    return storage.startswith("sqlite:///") and file.parent.is_dir() and not file.exists()


def _open(storage: str) -> optuna.storages.BaseStorage:
    try:
        return optuna.storages.get_storage(storage)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--storage {storage}: cannot be opened: {reason}") from None


def _trial_record(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
    epochs = sorted(key for key in attrs if key.startswith("epoch:"))
    return TrialRecord(
        number=trial.number,
        role=attrs["role"],
        label=attrs["label"],
        state=trial.state,
        config=attrs["config"],
        params=dict(trial.params),
        results=tuple(EpochResult.from_dict(attrs[key]) for key in epochs),
        values=(trial.values[0], trial.values[1]) if trial.values else None,
        reason=attrs.get("reason"),
        of=attrs.get("of"),
    )
