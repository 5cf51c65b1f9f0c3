"""What a comparison has measured: of each method one model for every seed, on a split that chose nothing."""

import math
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
    """By rising seed; of a seed with a failed training there is none."""
    left_out: tuple[str, ...]
    """Why seeds have no model."""

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
            UserError: the reference has no model.
        """
        plan = record.plan
        complete = [run for role in ("baseline", "confirm") for run in record.current(role) if run.complete]
        split = "test" if complete and all(run.last.test is not None for run in complete) else "val"
        results = tuple(_results(record, method, split, folder) for method in plan.methods)
        if not results[0].models:
            reason = next(iter(results[0].left_out), "none has ended")
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
    def trained_seeds(self) -> tuple[int, int]:
        """The fewest and the most models of a method, of those that have one."""
        numbers = [len(results.models) for results in self.results if results.models]
        return min(numbers), max(numbers)

    @property
    def finished(self) -> bool:
        """Whether every planned seed of every method has a model or a reason why it has none."""
        return all(len(one.models) + len(one.left_out) >= self.seeds for one in self.results)

    @property
    def folds(self) -> int:
        """Parts of the images that were held out, one after the other; 1: the split was."""
        return len(self.reference.method.baselines)


def _results(record: Record, method: Method, split: str, folder: SweepFolder) -> Results:
    """The models of a method. Of a seed with several folds, the models of all folds stand for one."""
    of_fold = [_runs(record, label) for label in method.baselines]
    models, left_out = [], []
    for seed in sorted({seed for runs in of_fold for seed in runs}):
        runs = [of_seed[seed] for of_seed in of_fold if seed in of_seed]
        if failed := [run.short_reason for run in runs if run.failed]:
            left_out.append(failed[0])
        elif len(runs) == len(of_fold) and all(run.complete for run in runs):
            model = _model(method, runs, record.plan, split, folder)
            models += [model] if model else []
            left_out += [] if model else ["the counts of its images are gone"]
    return Results(method, tuple(models), tuple(left_out))


def _runs(record: Record, label: str) -> dict[int, TrialRecord]:
    """All trainings of a baseline by their seed."""
    first = [trial for trial in record.current("baseline") if trial.label == label]
    numbers = {trial.number for trial in record.trials("baseline") if trial.label == label}
    others = [trial for trial in record.current("confirm") if trial.repeats in numbers]
    return {int(trial.config["seed"]): trial for trial in (*first, *others)}


def _model(method: Method, runs: Sequence[TrialRecord], plan: Plan, split: str, folder: SweepFolder) -> Model | None:
    """The model of one seed, or those of all folds; None if the counts of the images are needed and gone."""
    seed, last = int(runs[0].config["seed"]), runs[0].last
    paths = [counts_path(folder.counts, run.number) for run in runs]
    kept = [read_counts(path)[split] for path in paths if path.exists()]
    if len(runs) > 1 or (method.tau is None and split == "val"):
        return _pooled(seed, method, kept, plan) if len(kept) == len(runs) else None
    tau = last.curve[choose_tau(last.curve, plan.objectives)].tau if method.tau is None else method.tau
    scores = last.test_at(tau) if split == "test" else last.at(tau)
    assert scores is not None
    counts = [_units(one.at(tau), _groups(one.images, plan.group_by)) for one in kept]
    return Model(seed, scores, counts[0] if counts else None)


def _pooled(seed: int, method: Method, parts: Sequence[ImageCounts], plan: Plan) -> Model:
    """One model, or those of all folds: each image counts with the model that has not seen it.

    An adjustment is chosen by other images: those of the other folds, or the other half of the groups.
    """
    taus, pixels = parts[0].taus, np.concatenate([part.pixels for part in parts], axis=1)
    groups = _groups([image for part in parts for image in part.images], plan.group_by)
    chosen: tuple[float, ...] = (method.tau or 0.0,)
    counts = pixels[taus.index(method.tau or 0.0)]
    if method.tau is None:
        part_of = np.repeat(range(len(parts)), [len(part.images) for part in parts])
        if len(parts) == 1:
            part_of = halves(np.stack([_units(of_tau, groups) for of_tau in pixels]))[groups]
        chosen, counts = held_out(taus, pixels, part_of, plan.objectives) or (chosen, counts)
    counts = of_shown_classes(counts)
    tau = chosen[0] if len(set(chosen)) == 1 else math.nan
    return Model(seed, scores_of(tau, counts), _units(counts, groups))


def _groups(images: Sequence[str], group_by: str | None) -> Counts:
    """The number of each image's group; without groups, each image is one."""
    if group_by is None:
        return np.arange(len(images))
    return np.unique([group_of(name, group_by) for name in images], return_inverse=True)[1]


def _units(counts: Counts, groups: Counts) -> Counts:
    """The counts (G, 3, K) of each group: what an interval takes for independent."""
    units: Counts = np.zeros((groups.max() + 1, *counts.shape[1:]), np.int64)
    np.add.at(units, groups, counts)
    return units
