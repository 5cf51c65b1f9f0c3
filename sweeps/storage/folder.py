"""Where a sweep lives: its record in a storage, its view in MLflow, its files in `runs/NAME/`."""

from dataclasses import dataclass
from pathlib import Path

from sweeps.storage.plan import Plan
from tce_core.errors import UserError

RUNS = Path("runs")
"""The folder of all sweeps' folders, below the working directory."""
DEFAULT_STORAGE = "sqlite:///sweeps.db"
DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep. It holds everything that is not in the record."""

    name: str
    runs: Path = RUNS

    @property
    def path(self) -> Path:
        return (self.runs / self.name).absolute()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def ray(self) -> Path:
        """Ray Train's own files; of no use once the sweep has ended."""
        return self.path / "ray"

    @property
    def best(self) -> Path:
        """The exported file of the recommended configuration."""
        return self.path / "best.yaml"

    @property
    def front(self) -> Path:
        """The folder of the exported files of the whole front."""
        return self.path / "front"

    @property
    def has_checkpoints(self) -> bool:
        return any(self.checkpoints.glob("*.pt"))

    def check_not_elsewhere(self, plan: Plan) -> None:
        """Refuse to continue a sweep away from its checkpoints, because it would train everything again.

        Raises:
            UserError: the folder that the plan records exists, and this one does not.
        """
        recorded = SweepFolder(self.name, Path(plan.runs)).path
        if plan.runs and recorded.is_dir() and not self.path.exists():
            raise UserError(f"sweep '{self.name}' is kept in {recorded}; continue it from {recorded.parents[1]}")
