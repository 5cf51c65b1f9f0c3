"""Trunks: the plain first share of trials that begin alike is trained once, as a trial of its own.

Deferred re-weighting works (LDAM-DRW, arXiv 1906.07413), so trials may begin with plain training: `TrialConfig.plain`.
There is a trunk for the seed of the sweep, and one for each fresh seed. A trial whose trunk differs, because the space
searches a setting that acts from the first step, trains its own; so does one whose trunk failed.
"""

from collections.abc import Mapping
from typing import Any

from search_spaces.space import Space
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from tce_core.config import TrialConfig


class Trunks:
    """Finds the trunk of a trial, or says that it is to be trained."""

    def __init__(self, space: Space, plan: Plan, record: Record) -> None:
        self.record = record
        config = space.config({})
        self.epochs = config.trunk_epochs
        """Epochs of a trunk; 0: there are none."""
        self.plain = {seed: _plain(config.model_copy(update={"seed": seed})) for seed in self.seeds(plan)}
        """The configuration of the trunk for each seed, as JSON values."""
        self.lost: set[int] = set()
        """Trunks whose checkpoint is gone: they are trained again when they are needed."""

    def seeds(self, plan: Plan) -> range:
        """The seed of the sweep, and the fresh ones; none without a trunk."""
        return range(plan.seed, plan.seed + 1 + plan.confirm) if self.epochs else range(0)

    @property
    def sure(self) -> dict[int, dict[str, Any]]:
        """Those of `plain` that are surely needed. A race asks for the others when it comes to their seeds."""
        last = self.record.plan.seed + self.record.plan.sure_seeds
        return {seed: plain for seed, plain in self.plain.items() if seed <= last}

    @property
    def to_come(self) -> int:
        """Epochs of trunks that are still to be trained, if all are needed."""
        known = {seed: self._latest(plain) for seed, plain in self.sure.items()}
        return sum(self.epochs if trial is None else self._left(trial) for trial in known.values())

    def of(self, config: Mapping[str, Any]) -> TrialRecord | None:
        """The trunk of a configuration, whatever its state; None: it is not trained yet, or not shared."""
        plain = self._shared(config)
        return None if plain is None else self._latest(plain)

    def due(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The configuration of a trunk that has to be trained before this trial; None: there is nothing to train."""
        plain = self._shared(config)
        return plain if plain is not None and self._latest(plain) is None else None

    def _shared(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """The configuration of the trunk of a trial; None: it has none, or one of its own."""
        plain = self.plain.get(config["seed"])
        return plain if plain is not None and plain == _plain(TrialConfig(**config)) else None

    def _latest(self, plain: dict[str, Any]) -> TrialRecord | None:
        """The latest one. One that a limit has stopped does not count: when there is room again, it is begun anew."""
        found = [trial for trial in self.record.current("trunk") if trial.config == plain and not trial.stopped]
        return next((trial for trial in reversed(found) if trial.number not in self.lost), None)

    @staticmethod
    def _left(trial: TrialRecord) -> int:
        return 0 if trial.state.is_finished() else trial.epochs_left


def _plain(config: TrialConfig) -> dict[str, Any]:
    return config.plain.model_dump(mode="json")
