"""The plan of a sweep: every choice that its command line, its search space and its defaults made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.storage.objectives import Objective, Objectives


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
    rungs: tuple[int, ...] = ()
    """Epochs after which a searched trial must be among the best `keep` of those that got there; see `rungs`."""
    keep: float = 1.0
    patience: int | None = None
    """Epochs without growth of the hypervolume after which no more trials are begun."""
    max_epochs: int | None = None
    """Of the whole sweep, baselines and confirming runs included."""
    max_hours: float | None = None
    warm_start: tuple[dict[str, Any], ...] = ()
    """Configurations that are tried first."""
    runs: str = ""
    """The folder that holds the sweep's own, `runs/NAME`, with its checkpoints; "" if nobody knows."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def objectives(self) -> Objectives:
        return Objectives.led_by(self.objective, self.allowance)

    @property
    def confirming(self) -> int:
        """How many runs confirm: of the winner, and of the reference baseline where there is one."""
        return self.confirm * (2 if self.space.get("baselines") else 1)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Plan":
        """From JSON, which knows no tuples."""
        return cls(**{**saved, "rungs": tuple(saved["rungs"]), "warm_start": tuple(saved["warm_start"])})
