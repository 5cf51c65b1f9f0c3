"""What a comparison has measured: of each method one model for every seed, on a split that chose nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sweeps.storage.folder import SweepFolder, counts_path
from sweeps.storage.plan import Method, Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.cross_fit import choose_tau
from tce_core.errors import UserError
from tce_core.evidence.jackknife import Jackknife
from tce_core.image_counts import read_counts
from tce_core.results import Scores

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """One trained model of a method."""

    seed: int
    scores: Scores
    """On the split that is compared, with its strength of adjustment."""
    counts: Counts | None
    """(N, 3, K) true positives, false positives and false negatives of each image; None if their file is gone."""

    @cached_property
    def jackknife(self) -> Jackknife | None:
        """The IoUs without each image; None without counts."""
        return None if self.counts is None else Jackknife.of(self.counts)


@dataclass(frozen=True)
class Results:
    """The models of one method."""

    method: Method
    models: tuple[Model, ...]
    """By rising seed; of failed trainings there is none."""
    failed: tuple[str, ...]
    """Why trainings failed."""

    @property
    def name(self) -> str:
        return self.method.name

    def by_seed(self) -> dict[int, Model]:
        return {model.seed: model for model in self.models}


@dataclass(frozen=True)
class Compared:
    """The results of all methods of a comparison. The first method is the reference."""

    plan: Plan
    epochs: int
    """Of each training."""
    split: str
    """`test`, or `val` if there is no test split."""
    results: tuple[Results, ...]

    @classmethod
    def of(cls, record: Record, folder: SweepFolder) -> "Compared":
        """Read the results from the record, and the counts of each image from the sweep's folder.

        Raises:
            UserError: no model of the reference was trained to its end.
        """
        plan = record.plan
        runs = {label: _runs(record, label) for label in plan.space["baselines"]}
        complete = [run for of_label in runs.values() for run in of_label if run.complete]
        split = "test" if complete and all(run.last.test is not None for run in complete) else "val"
        results = tuple(_results(method, runs[method.baseline], plan, split, folder) for method in plan.methods)
        if not results[0].models:
            reason = next(iter(results[0].failed), "none has ended")
            raise UserError(f"comparison '{plan.name}': no model of the reference {results[0].name}: {reason}")
        return cls(plan, complete[0].epoch, split, results)

    @property
    def reference(self) -> Results:
        return self.results[0]

    @property
    def seeds(self) -> int:
        """Planned trainings of each method."""
        return self.plan.confirm + 1


def _runs(record: Record, label: str) -> list[TrialRecord]:
    """All trainings of a baseline, by rising seed."""
    first = [trial for trial in record.current("baseline") if trial.label == label]
    numbers = {trial.number for trial in record.trials("baseline") if trial.label == label}
    others = [trial for trial in record.current("confirm") if trial.repeats in numbers]
    return sorted([*first, *others], key=lambda trial: int(trial.config["seed"]))


def _results(method: Method, runs: Sequence[TrialRecord], plan: Plan, split: str, folder: SweepFolder) -> Results:
    models = tuple(_model(method, run, plan, split, folder) for run in runs if run.complete)
    return Results(method, models, tuple(run.short_reason for run in runs if run.failed))


def _model(method: Method, run: TrialRecord, plan: Plan, split: str, folder: SweepFolder) -> Model:
    curve = run.last.curve
    tau = curve[choose_tau(curve, plan.objectives)].tau if method.tau is None else method.tau
    scores = run.last.test_at(tau) if split == "test" else run.last.at(tau)
    assert scores is not None
    path = counts_path(folder.counts, run.number)
    counts = read_counts(path)[split].at(tau) if path.exists() else None
    return Model(int(run.config["seed"]), scores, counts)
