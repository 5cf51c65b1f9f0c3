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
from sweeps.strategy.cross_fit import choose_tau, halves, held_out, scores_of
from tce_core.data.folds import group_of
from tce_core.errors import UserError
from tce_core.evidence.jackknife import Jackknife
from tce_core.image_counts import ImageCounts, read_counts
from tce_core.iou import of_shown_classes
from tce_core.results import Scores

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Model:
    """One trained model of a method."""

    seed: int
    scores: Scores
    """On the split that is compared, with its strength of adjustment."""
    counts: Counts | None
    """(N, 3, K) true positives, false positives and false negatives of each image, or of each group of images (see
    `Plan.group_by`); None if their file is gone."""

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
            UserError: no model of the reference was trained to its end, or counts that are needed are gone.
        """
        plan = record.plan
        complete = [run for role in ("baseline", "confirm") for run in record.current(role) if run.complete]
        split = "test" if complete and all(run.last.test is not None for run in complete) else "val"
        results = tuple(_models(record, method, split, folder) for method in plan.methods)
        if not results[0].models:
            reason = next(iter(results[0].failed), "none has ended")
            raise UserError(f"comparison '{plan.name}': no model of the reference {results[0].name}: {reason}")
        return cls(plan, complete[0].epoch, split, results)

    @property
    def reference(self) -> Results:
        return self.results[0]

    @property
    def seeds(self) -> int:
        """Planned trainings of each method (in each fold)."""
        return self.plan.confirm + 1

    @property
    def folds(self) -> int:
        """Parts of the images that were held out, one after the other; 1: the split was."""
        return len(self.reference.method.baselines)


def _models(record: Record, method: Method, split: str, folder: SweepFolder) -> Results:
    """The models of a method. Of a seed with several folds, all their models stand for one."""
    plan = record.plan
    of_fold = [_runs(record, label) for label in method.baselines]
    ended = {seed for runs in of_fold for seed in runs}
    complete = sorted(seed for seed in ended if all(seed in runs and runs[seed].complete for runs in of_fold))
    read = _of_folds if len(method.baselines) > 1 else _of_split
    models = tuple(read(method, [runs[seed] for runs in of_fold], plan, split, folder) for seed in complete)
    failed = {seed: runs[seed].short_reason for runs in of_fold for seed in runs if runs[seed].failed}
    return Results(method, models, tuple(failed.values()))


def _runs(record: Record, label: str) -> dict[int, TrialRecord]:
    """All trainings of a baseline by their seed."""
    first = [trial for trial in record.current("baseline") if trial.label == label]
    numbers = {trial.number for trial in record.trials("baseline") if trial.label == label}
    others = [trial for trial in record.current("confirm") if trial.repeats in numbers]
    return {int(trial.config["seed"]): trial for trial in (*first, *others)}


def _of_split(method: Method, runs: Sequence[TrialRecord], plan: Plan, split: str, folder: SweepFolder) -> Model:
    """One model on a split of the data set. An adjustment that nothing else can choose is chosen by cross-fitting."""
    (run,) = runs
    seed, curve = int(run.config["seed"]), run.last.curve
    if split == "val" and method.tau is None:
        return _adjusted(seed, _counts(run, split, folder), None, plan)
    tau = curve[choose_tau(curve, plan.objectives)].tau if method.tau is None else method.tau
    scores = run.last.test_at(tau) if split == "test" else run.last.at(tau)
    assert scores is not None
    kept = _counts(run, split, folder) if counts_path(folder.counts, run.number).exists() else None
    return Model(seed, scores, None if kept is None else _units(kept.at(tau), kept.images, plan.group_by))


def _of_folds(method: Method, runs: Sequence[TrialRecord], plan: Plan, split: str, folder: SweepFolder) -> Model:
    """The models of all folds: each image counts with the model that has not seen it."""
    seed = int(runs[0].config["seed"])
    folds = [_counts(run, split, folder) for run in runs]
    images = tuple(image for fold in folds for image in fold.images)
    pixels = np.concatenate([fold.pixels for fold in folds], axis=1)
    pooled = ImageCounts(split, images, folds[0].classes, folds[0].taus, pixels)
    if method.tau is None:
        return _adjusted(seed, pooled, np.repeat(range(len(folds)), [len(fold.images) for fold in folds]), plan)
    counts = pooled.at(method.tau)
    return Model(seed, scores_of(method.tau, counts), _units(counts, images, plan.group_by))


def _adjusted(seed: int, kept: ImageCounts, part_of: Counts | None, plan: Plan) -> Model:
    """A model on images with the strength that other images choose: those of the other folds, or the other half."""
    found = held_out(kept.taus, kept.pixels, halves(kept.pixels) if part_of is None else part_of, plan.objectives)
    taus, counts = ((0.0,), kept.at(0.0)) if found is None else found
    counts = of_shown_classes(counts)
    return Model(seed, scores_of(float(np.mean(taus)), counts), _units(counts, kept.images, plan.group_by))


def _counts(run: TrialRecord, split: str, folder: SweepFolder) -> ImageCounts:
    return read_counts(counts_path(folder.counts, run.number))[split]


def _units(counts: Counts, images: Sequence[str], group_by: str | None) -> Counts:
    """The counts of each image, or of each group of images: what an interval takes for independent."""
    if group_by is None:
        return counts
    groups, of_image = np.unique([group_of(name, group_by) for name in images], return_inverse=True)
    units: Counts = np.zeros((len(groups), *counts.shape[1:]), np.int64)
    np.add.at(units, of_image, counts)
    return units
