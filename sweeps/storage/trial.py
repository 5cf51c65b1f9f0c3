"""One trial as the record of a sweep holds it."""

from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from tce_core.results import EpochResult

Role = Literal["baseline", "search", "confirm"]


@dataclass(frozen=True)
class Spent:
    """What the whole sweep had spent at one moment, such as the end of a trial's epoch."""

    epochs: int
    """Epochs of all trials together. They order events, whatever the clock shows."""
    seconds: float
    """Running time; time spent interrupted does not count."""


@dataclass(frozen=True)
class Ended(Spent):
    """How a trial ended, and what the sweep had spent by then."""

    reason: str | None
    """Why the trial ended before its full budget; None at the full budget."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial in its present state."""

    number: int
    role: Role
    label: str
    state: TrialState
    config: dict[str, Any]
    """The complete `TrialConfig` as JSON values."""
    params: dict[str, Any]
    """The searched settings; empty for a baseline."""
    results: tuple[EpochResult, ...]
    """One per epoch, in order."""
    spent: tuple[Spent, ...]
    """What the sweep had spent after each of `results`, that epoch included."""
    values: tuple[float, float] | None
    """The two objectives of a COMPLETE trial."""
    ended: Ended | None
    repeats: int | None
    """The trial that a confirmation run repeats with another seed."""
    retries: int | None
    """The failed trial that this one replaces."""
    system_attrs: dict[str, Any]
    """The sampler's own notes."""

    @property
    def complete(self) -> bool:
        """Whether the trial reached its full budget."""
        return self.state == TrialState.COMPLETE

    @property
    def stopped(self) -> bool:
        """Whether the sweep stopped the trial before its full budget."""
        return self.state == TrialState.PRUNED

    @property
    def failed(self) -> bool:
        return self.state == TrialState.FAIL

    @property
    def last(self) -> EpochResult:
        """The latest result. There must be one."""
        return self.results[-1]

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self.results[-1].epoch if self.results else 0

    @property
    def epochs_left(self) -> int:
        """Epochs to the full budget."""
        return int(self.config["epochs"]) - self.epoch

    @property
    def ended_at(self) -> int:
        """Epochs that the whole sweep had spent when the trial ended; 0 for a trial that has not ended."""
        return self.ended.epochs if self.ended is not None else 0

    @property
    def reason(self) -> str | None:
        return self.ended.reason if self.ended is not None else None

    @property
    def short_reason(self) -> str:
        """The first line of the reason: a bug's reason continues with its traceback."""
        return (self.reason or "unknown").partition("\n")[0]


def trial_record(trial: FrozenTrial) -> TrialRecord:
    """Read a trial of an Optuna study.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: its attributes are not those that a `Record` writes.
    """
    attrs = trial.user_attrs
    epochs = [attrs[key] for key in sorted(attrs) if key.startswith("epoch:")]
    return TrialRecord(
        number=trial.number,
        role=attrs["role"],
        label=attrs["label"],
        state=trial.state,
        config=dict(attrs["config"]),
        params=dict(trial.params),
        results=tuple(EpochResult.from_dict(epoch["result"]) for epoch in epochs),
        spent=tuple(Spent(**epoch["spent"]) for epoch in epochs),
        values=(trial.values[0], trial.values[1]) if trial.values else None,
        ended=Ended(**attrs["ended"]) if "ended" in attrs else None,
        repeats=attrs.get("repeats"),
        retries=attrs.get("retries"),
        system_attrs=dict(trial.system_attrs),
    )
