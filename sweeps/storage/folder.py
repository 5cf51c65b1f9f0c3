"""Where a sweep lives: its record in a storage, its view in MLflow, its files in `runs/NAME/`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.storage.plan import Plan

RUNS = Path("runs")
"""The folder of all sweeps' folders, below the working directory."""
RAY = "ray"
"""The folder of Ray Train's own files in a sweep's folder; of no use once the sweep has ended."""
DEFAULT_STORAGE = "sqlite:///sweeps.db"
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep. It holds everything that is not in the record."""

    name: str
    runs: Path = RUNS
    """The folder that holds it. It is made absolute, because workers have another working directory."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", self.runs.absolute())

    @property
    def path(self) -> Path:
        return self.runs / self.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def counts(self) -> Path:
        """The folder of the counts by image of every trial that trained for its full budget."""
        return self.path / "counts"

    @property
    def ray(self) -> Path:
        return self.path / RAY

    @property
    def best(self) -> Path:
        """The exported file of the recommended configuration."""
        return self.path / "best.yaml"

    @property
    def report(self) -> Path:
        """The page that shows the sweep."""
        return self.path / "report.html"

    @property
    def front(self) -> Path:
        """The folder of the exported files of the whole front."""
        return self.path / "front"

    @property
    def comparison(self) -> Path:
        """The folder of a comparison's tables."""
        return self.path / "comparison"

    @property
    def has_checkpoints(self) -> bool:
        return any(self.checkpoints.glob("*.pt"))


def counts_path(folder: str | Path, trial: int) -> Path:
    """The counts of a trial's last evaluation below the folder `SweepFolder.counts`."""
    return Path(folder) / f"trial-{trial:05d}.parquet"


def folder_of(plan: "Plan", runs: Path = RUNS) -> SweepFolder:
    """The folder of a recorded sweep: the one where it began, or below `runs` if that one is gone, such as moved."""
    recorded = SweepFolder(plan.name, Path(plan.runs))
    return recorded if plan.runs and recorded.path.is_dir() else SweepFolder(plan.name, runs)
