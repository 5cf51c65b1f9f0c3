"""What the record of a sweep says of one trial."""

from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from tce_core.results import EpochResult

Role = Literal["baseline", "search", "confirm"]


@dataclass(frozen=True)
class Spent:
    """What the sweep had spent at a moment, such as when a trial had done an epoch."""

    epochs: int
    """Of all trials together. Orders moments, whatever a clock says."""
    seconds: float
    """At work, interruptions not counted."""


@dataclass(frozen=True)
class Ended(Spent):
    """How a trial came to its end, and what the sweep had spent by then."""

    reason: str | None
    """Why before the full budget; None at it."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial, as it stands."""

    number: int
    role: Role
    label: str
    state: TrialState
    config: dict[str, Any]
    params: dict[str, Any]
    results: tuple[EpochResult, ...]
    spent: tuple[Spent, ...]
    """After each of `results`, that one included."""
    values: tuple[float, float] | None
    """Of a COMPLETE trial."""
    ended: Ended | None
    repeats: int | None
    """For a confirming run: the trial it repeats with another seed."""
    system_attrs: dict[str, Any]
    """The sampler's own notes."""

    @property
    def complete(self) -> bool:
        return self.state == TrialState.COMPLETE

    @property
    def stopped(self) -> bool:
        return self.state == TrialState.PRUNED

    @property
    def last(self) -> EpochResult:
        return self.results[-1]

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return self.results[-1].epoch if self.results else 0

    @property
    def epochs_left(self) -> int:
        """To its full budget."""
        return int(self.config["epochs"]) - self.epoch

    @property
    def reason(self) -> str | None:
        return self.ended.reason if self.ended is not None else None

    @property
    def short_reason(self) -> str:
        """Its first line: the reason of a bug goes on with the traceback."""
        return (self.reason or "unknown").partition("\n")[0]


def trial_record(trial: FrozenTrial) -> TrialRecord:
    """A trial as the study has it.

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
        system_attrs=dict(trial.system_attrs),
    )
