"""One trial as the record of a sweep holds it."""

from dataclasses import dataclass
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from tce_core.config import trunk_epochs
from tce_core.results import EpochResult

Role = Literal["trunk", "baseline", "search", "confirm"]
"""A trunk is the plain first share of several trials, trained once: see `trunks.py`."""


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
    trunk: int | None
    """The trial that trained the trunk of this one; None: it has no trunk, or trains its own."""
    until: int
    """The epoch that is its full budget."""
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
    def untrained(self) -> bool:
        """Whether the trial only evaluates the model that it starts from."""
        return self.config.get("train") == "nothing"

    @property
    def trunk_epochs(self) -> int:
        """Epochs of its trunk, its own or that of another trial."""
        return trunk_epochs(self.config.get("trunk", 0.0), self.config["epochs"])

    @property
    def start(self) -> int:
        """The epoch after which this trial begins: its trunk may be another trial."""
        return 0 if self.trunk is None else self.trunk_epochs

    @property
    def epoch(self) -> int:
        """The epoch that is reached, the trunk included."""
        return self.results[-1].epoch if self.results else self.start

    @property
    def trained(self) -> int:
        """Number of epochs that this trial has trained itself."""
        return len(self.results)

    @property
    def budget(self) -> int:
        """Number of epochs that this trial trains itself at its full budget."""
        return self.until - self.start

    @property
    def epochs_left(self) -> int:
        """Epochs to the full budget."""
        return self.until - self.epoch

    def at_epoch(self, epoch: int) -> EpochResult:
        """The result of an epoch, or of the nearest one that this trial has. There must be one."""
        return self.results[min(max(epoch - 1 - self.start, 0), len(self.results) - 1)]

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
        trunk=attrs.get("trunk"),
        until=attrs.get("until", attrs["config"]["epochs"]),
        system_attrs=dict(trial.system_attrs),
    )
