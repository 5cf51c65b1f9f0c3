"""The options of a sweep: what a command line or a Python program asks for."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)

from search_spaces.space import Sampler
from sweeps.storage.folder import DEFAULT_STORAGE, DEFAULT_TRACKING_URI, RUNS
from sweeps.storage.measures import is_objective, objectives_text
from sweeps.storage.plan import EXTENDABLE
from tce_core.data.builtin import BUILT_IN
from tce_core.errors import UserError

Positive = Annotated[int, Field(gt=0, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Share = Annotated[float, Field(gt=0, le=1, strict=True)]
Hours = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


def _known(name: str) -> str:
    if not is_objective(name):
        raise UserError(f"objective = '{name}': it is one of {objectives_text()}")
    return name


Objective = Annotated[str, AfterValidator(_known)]

TRACKING_URI = r"^((sqlite|postgresql|mysql|mssql)(\+\w+)?|https?|databricks)(://|$)"
"""MLflow's databases and servers; it refuses its old store of files."""


class Options(BaseModel):
    """Checks its values when it is made. It cannot change afterwards.

    Raises:
        UserError: an unknown name or a value that is not allowed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise UserError(f"unknown option '{name}'; the options are {', '.join(cls.model_fields)}") from None
            raise UserError(f"{name} = {first['input']!r}: {first['msg']}") from None


class Runtime(Options):
    """Where a sweep runs and where it is kept. It changes nothing of what the sweep does."""

    storage: str = DEFAULT_STORAGE
    """Optuna storage: an SQLAlchemy URL."""
    tracking_uri: Annotated[str, Field(pattern=TRACKING_URI)] = DEFAULT_TRACKING_URI
    """MLflow store or server."""
    runs: Path = RUNS
    """The folder that holds the folders of sweeps."""
    address: str | None = None
    """A Ray cluster to join; None: this machine alone."""
    concurrent: Positive | None = None
    """Trials at a time; None: as many as fit."""


class SweepOptions(Runtime):
    """A new sweep, or the same one again: a sweep with the same options that has not ended continues."""

    dataset: str | Path = BUILT_IN
    """`streets` (built in), or a folder of Arrow files."""
    objective: Objective = "worst_iou"
    """The measure that leads, such as `miou` or `iou:CLASS`. mIoU and a fairness measure are always both optimised."""
    miou_allowance: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far the guard may fall below the baseline: mIoU, or worst-class IoU if mIoU leads."""
    floors: tuple[str, ...] = ()
    """What the recommended trial must keep, NAME=VALUE of a class, a measure or `others`: such as `wall=0.3`, or
    `wall=-0.02` relative to the baseline."""
    space: str | Path | None = None
    """A YAML file, or a name in `search_spaces/`; None: `streets` for the built-in data, else `tce`."""
    overrides: tuple[str, ...] = ()
    """Changes of the space, such as `trial.encoder=resnet50` or `space.t.high=3`."""
    start: Path | None = None
    """Weights of a whole model that every training starts from; it is then the reference baseline, as it is."""
    sampler: Sampler | None = None
    """None: the space's."""
    warm_start: str | Path | None = None
    """An earlier sweep whose front is tried first, or a YAML file of configurations."""
    trials: Positive | None = None
    """Configurations to search, beside the baselines; None: the space's."""
    epochs: Positive | None = None
    """Full budget of each trial; None: the space's."""
    trunk: Annotated[float, Field(ge=0, lt=1, strict=True)] | None = None
    """Share of the epochs that is plain and trained once for all trials; None: the space's."""
    confirm: Natural | None = None
    """Fresh seeds, at most, to show that the winner beats the baseline (`racing.py`); None: the space's."""
    seed: Seed = 0
    """Random seed of the search and of the trials."""
    rungs: tuple[Positive, ...] | None = None
    """Epochs after which only the better trials continue; (): all continue; None: the space's."""
    keep: Share | None = None
    """Share of the trials that continues at a rung; None: the space's."""
    patience: Positive | None = None
    """Stop the search when the front has not grown for this many epochs."""
    max_epochs: Positive | None = None
    """Limit for the whole sweep, baselines and confirmation runs included."""
    max_hours: Hours | None = None
    """Limit of the running time; time spent interrupted does not count."""
    workers_per_trial: Positive = 1
    """Data-parallel workers of one trial."""
    gpus_per_worker: Amount | None = None
    """None: 1 where there are GPUs, else 0."""
    cpus_per_worker: Positive | None = None
    """CPU threads of one worker. None: 1 without GPUs, else the cluster's cores shared out over its GPUs."""
    name: str | None = None
    """None: DATASET-1, DATASET-2, …"""

    @model_validator(mode="after")
    def _keep_needs_rungs(self) -> Self:
        if self.keep is not None and self.rungs == ():
            raise UserError(
                "keep is the share that continues at a rung, and --no-halving (rungs=()) has no rungs; give one of them"
            )
        return self


class CompareOptions(Runtime):
    """A comparison of methods, or the same one again: it continues if it has not ended."""

    dataset: str | Path = BUILT_IN
    """As in `SweepOptions`, like all that has the same name."""
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    """Such as `mcce`, `tce@t=0.1`, `mcce+adjusted` or an exported file. The first one is the reference."""
    seeds: Positive = 5
    """Trainings of each method (in each fold), with `seed` and those that follow it."""
    folds: Annotated[int, Field(ge=2, strict=True)] | None = None
    """Hold out each of these parts of `train` and `val` once, instead of comparing on the data set's own split."""
    group_by: Annotated[str, Field(min_length=1)] | None = None
    """Images whose names agree before this text stay in one fold, and are one unit of the intervals; None: each image
    is on its own."""
    objective: Objective = "worst_iou"
    """The measure by which the strength of an adjustment is chosen on the validation split."""
    miou_allowance: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How far an adjustment may lower mIoU there (worst-class IoU, if mIoU leads)."""
    space: str | Path | None = None
    """Its `trial` section is what all methods have in common, and its baselines can be named as methods."""
    overrides: tuple[str, ...] = ()
    epochs: Positive | None = None
    trunk: Annotated[float, Field(ge=0, lt=1, strict=True)] | None = None
    seed: Seed = 0
    workers_per_trial: Positive = 1
    gpus_per_worker: Amount | None = None
    cpus_per_worker: Positive | None = None
    name: str | None = None
    """None: DATASET-compared-1, DATASET-compared-2, …"""


class ResumeOptions(Runtime):
    """An existing sweep that continues; some of its limits may be changed."""

    name: str | None = None
    """None: the latest sweep of the storage."""
    trials: Positive | None = None
    """Configurations to search in all; not fewer than before."""
    patience: Positive | None = None
    max_epochs: Positive | None = None
    max_hours: Hours | None = None
    floors: tuple[str, ...] | None = None
    """Other floors than before; (): none."""
    retry_failed: bool = False
    """Begin every failed trial again."""

    @property
    def changes(self) -> dict[str, Any]:
        """The limits that are to change, by the names of the plan's fields."""
        given = {name: getattr(self, name) for name in EXTENDABLE}
        return {name: value for name, value in given.items() if value is not None}
