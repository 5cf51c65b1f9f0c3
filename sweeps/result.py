"""`SweepResult`: what `run_sweep` and its relatives return."""

from dataclasses import dataclass

from sweeps.storage.folder import SweepFolder
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import Point


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found."""

    finished: bool
    """False: the sweep was interrupted; `resume_sweep` continues it."""
    outcome: Outcome
    """Everything else that can be asked about the record, such as `outcome.history()`."""
    class_names: tuple[str, ...]
    folder: SweepFolder
    """`folder.best` is the exported file of the recommended configuration."""
    pages: dict[str, str]
    """Addresses in MLflow's UI of the sweep's `run` and its `trials`; empty if MLflow could not be reached."""

    @property
    def name(self) -> str:
        return self.outcome.record.plan.name

    @property
    def front(self) -> list[Point]:
        """The Pareto front of mIoU and the fairness measure, by rising mIoU."""
        return self.outcome.front()

    @property
    def recommended(self) -> Point | None:
        """The best point by the leading measure that keeps the floors; None if there is none."""
        choice = self.outcome.choose()
        return None if choice is None else choice.point

    @property
    def baselines(self) -> list[TrialRecord]:
        return self.outcome.record.trials("baseline")

    def confirmations(self, trial: TrialRecord) -> list[TrialRecord]:
        """The completed runs of a trial with fresh seeds."""
        return self.outcome.repetitions(trial)
