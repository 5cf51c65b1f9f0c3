"""The plan of a sweep: every choice that its options, its search space and its defaults made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.storage.objectives import Floor, Objectives

FIRST_SEEDS = 2
"""Fresh seeds of a contender before it is judged (`racing.py`)."""


@dataclass(frozen=True)
class Method:
    """One method of a comparison: a baseline, or one for each fold, with a strength of logit adjustment."""

    name: str
    """As it was given, such as `tce@t=0.1`."""
    baselines: tuple[str, ...]
    """Labels of the baselines that are trained for it, fold by fold; several methods can share them."""
    tau: float | None = 0.0
    """The strength; 0: the plain model; None: the one that suits each model on the validation split."""


EXTENDABLE = ("trials", "patience", "max_epochs", "max_hours", "floors")
"""The limits that may change after a sweep has begun."""


@dataclass(frozen=True)
class Plan:
    """What a sweep is asked to do. The record keeps it, so that `--resume` needs only the name."""

    name: str
    objective: str
    allowance: float
    sampler: str
    seed: int
    trials: int
    """Searched configurations, beside the baselines."""
    confirm: int
    """Fresh seeds for a leading configuration and for the reference baseline, at most; see `racing.py`."""
    dataset: str
    """Absolute path of the Arrow data set."""
    fingerprint: str
    space: dict[str, Any]
    """The search space as loaded, with the overrides applied."""
    space_file: str
    workers: int
    cpus_per_worker: int | None
    """None: the cluster's cores are shared out over its GPUs."""
    gpus_per_worker: float
    rungs: tuple[int, ...] = ()
    """Epochs after which a searched trial must be among the best `keep` of those that got there; see `rungs.py`."""
    keep: float = 1.0
    """Share of the trials that continues at a rung, in (0, 1]."""
    patience: int | None = None
    """The search stops after this many epochs without growth of the front's hypervolume."""
    max_epochs: int | None = None
    """Limit for the whole sweep, baselines and confirmation runs included."""
    max_hours: float | None = None
    """Limit of the running time; time spent interrupted does not count."""
    warm_start: tuple[dict[str, Any], ...] = ()
    """Configurations that are tried first."""
    classes: tuple[str, ...] = ()
    """Names of the classes of the data set."""
    floors: tuple[Floor, ...] = ()
    """Floors that the recommended trial keeps, beside the allowance; see `floors.py`."""
    start_sha256: str = ""
    """SHA-256 of the weights that the trainings start from; "" if there are none."""
    methods: tuple[Method, ...] = ()
    """A comparison trains each of its methods with every seed, searches nothing and recommends nothing."""
    group_by: str | None = None
    """What tells the groups of images apart in a comparison; see `TrialConfig.group_by`."""
    runs: str = ""
    """Absolute path of the folder that holds the sweep's own folder; "" if unknown."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of Python and of the packages that decide the result."""

    @property
    def objectives(self) -> Objectives:
        return Objectives(self.objective, self.allowance, self.classes, self.floors)

    @property
    def sure_seeds(self) -> int:
        """Fresh seeds that the winner and the reference surely have; in a comparison, every method."""
        return self.confirm if self.methods else min(self.confirm, FIRST_SEEDS)

    @property
    def confirmation_runs(self) -> int:
        """Number of confirmation runs that surely come: of the winner, and of the reference baseline if it is trained.

        A race that stays open takes up to twice `confirm` runs. In a comparison each method has all its seeds.
        """
        baselines = list((self.space.get("baselines") or {}).values())
        trained = [settings for settings in baselines if settings.get("train") != "nothing"]
        if self.methods:
            return self.sure_seeds * len(trained)
        return self.sure_seeds * (2 if trained and trained[0] is baselines[0] else 1)

    @property
    def most_at_once(self) -> int:
        """Trials that can ever run side by side. Only a comparison begins runs with fresh seeds from the start."""
        planned = len(self.space.get("baselines") or {}) + self.trials
        return max(1, planned + (self.confirmation_runs if self.methods else 0))

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Plan":
        """Rebuild a plan from JSON, which turned its tuples into lists."""
        sequences = {name: tuple(saved.get(name, ())) for name in ("rungs", "warm_start", "classes")}
        floors = tuple(Floor(**floor) for floor in saved.get("floors", ()))
        methods = tuple(
            Method(one["name"], tuple(one["baselines"]) if "baselines" in one else (one["baseline"],), one["tau"])
            for one in saved.get("methods", ())  # before there were folds, a method had one baseline
        )
        return cls(**{**saved, **sequences, "floors": floors, "methods": methods})

    def extended(self, **changes: Any) -> "Plan":
        """The plan with some of its limits changed; a value of None keeps the present one."""
        return replace(self, **{key: value for key, value in changes.items() if value is not None})
