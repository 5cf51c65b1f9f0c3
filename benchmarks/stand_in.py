"""Compare stand-ins for the worst-class IoU: how well each one predicts it, above all where it is still 0.

    python benchmarks/stand_in.py RECORDS [RECORDS …]

RECORDS are Optuna storages (`sqlite:///sweeps.db`), of which every sweep is read, or `.npz` files of curves. A file is
one group, and each of its arrays is a run: (epochs, classes) IoUs under the name CONFIG/SEED.

A stand-in is good if it orders models as their worst class will: its Spearman rank correlation with the *final* worst
IoU is printed

- early: a run after a sixth and after half of its epochs, with the end of the same run, over all runs of the group;
- other seed: a run after its last epoch, with the end of a run of the same configuration and another seed.

Behind "if 0" only runs count whose worst IoU is 0 at the moment of the stand-in: there the minimum itself says nothing.
Each figure is the mean over the groups (sweeps), weighted by their numbers of pairs. A dash: fewer than four pairs, or
all values are equal.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from scipy import stats

from sweeps.storage.measures import TiltedIoU
from sweeps.storage.record import Record

Floats = npt.NDArray[np.float64]
TILTS = (-10.0, -20.0, -40.0)
LEAST = 4
"""Pairs of a group that are needed for a rank correlation."""


@dataclass(frozen=True)
class Run:
    """One training to its full budget."""

    config: str
    seed: int
    iou: Floats
    """(epochs, classes) IoU of each class after each epoch, in [0, 1]; NaN for an absent class."""


@dataclass(frozen=True)
class Pair:
    """IoUs (classes,) that are known, and the worst IoU that they are to predict."""

    known: Floats
    worst: float


def tilted(t: float) -> Callable[[Floats], float]:
    measure = TiltedIoU("tilted_iou", "", t=t)
    return lambda iou: measure.value(SimpleNamespace(iou=iou.tolist(), report=None, measures={}))


def worst_quarter(iou: Floats) -> float:
    """Mean of the worst quarter of the classes, rounded up."""
    present = np.sort(iou[~np.isnan(iou)])
    return float(present[: math.ceil(len(present) / 4)].mean())


STAND_INS: dict[str, Callable[[Floats], float]] = {
    "minimum": lambda iou: float(np.nanmin(iou)),
    **{f"tilted mean, t = {t:g}": tilted(t) for t in TILTS},
    "mean of the worst quarter": worst_quarter,
    "mean": lambda iou: float(np.nanmean(iou)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", metavar="RECORDS", help="an Optuna storage, or an .npz file of curves")
    groups = [group for source in parser.parse_args(arguments).records for group in read(source)]
    print(f"{sum(map(len, groups))} runs in {len(groups)} groups\n")
    questions = {
        "epoch 1/6": [early(group, 1 / 6) for group in groups],
        "epoch 1/2": [early(group, 1 / 2) for group in groups],
        "other seed": [other_seed(group) for group in groups],
    }
    columns = {}
    for name, asked in questions.items():
        zero = [[pair for pair in pairs if np.nanmin(pair.known) == 0] for pairs in asked]
        columns[f"{name} (n = {_size(asked)})"] = asked
        columns[f"{name}, if 0 (n = {_size(zero)})"] = zero
    print(table(columns))


def read(source: str) -> Iterator[list[Run]]:
    """The groups of runs in a file of curves, or in every sweep of an Optuna storage."""
    if source.endswith(".npz"):
        with np.load(Path(source)) as curves:
            yield [Run(*_named(name), curves[name].astype(np.float64)) for name in curves.files]
        return
    for name in Record.names(source):
        trials = [trial for trial in Record.load(source, name).trials() if trial.complete]
        yield [
            Run(
                str(trial.number if trial.repeats is None else trial.repeats),
                int(trial.config["seed"]),
                np.array([result.iou for result in trial.results], dtype=np.float64),
            )
            for trial in trials
        ]


def _named(name: str) -> tuple[str, int]:
    config, _, seed = name.rpartition("/")
    return config, int(seed)


def early(runs: Sequence[Run], part: float) -> list[Pair]:
    """Pairs of the IoUs after a part of the epochs, rounded up, and the worst IoU at the end of the same run."""
    return [Pair(run.iou[math.ceil(part * len(run.iou)) - 1], float(np.nanmin(run.iou[-1]))) for run in runs]


def other_seed(runs: Sequence[Run]) -> list[Pair]:
    """Pairs of the IoUs at the end of a run and the worst IoU at the end of each run with another seed."""
    return [
        Pair(run.iou[-1], float(np.nanmin(other.iou[-1])))
        for run in runs
        for other in runs
        if run.config == other.config and run.seed != other.seed
    ]


def correlation(pairs: Sequence[Pair], stand_in: Callable[[Floats], float]) -> float:
    """Spearman's rank correlation; NaN for fewer than four pairs, or if all values of one side are equal."""
    predicted = np.array([stand_in(pair.known) for pair in pairs])
    worst = np.array([pair.worst for pair in pairs])
    if len(pairs) < LEAST or np.ptp(predicted) == 0 or np.ptp(worst) == 0:
        return math.nan
    return float(stats.spearmanr(predicted, worst).statistic)


def mean_correlation(groups: Sequence[Sequence[Pair]], stand_in: Callable[[Floats], float]) -> float:
    """The mean over the groups that have a correlation, weighted by their numbers of pairs; NaN if none has one."""
    found = [(correlation(pairs, stand_in), len(pairs)) for pairs in groups]
    known = [(value, weight) for value, weight in found if not math.isnan(value)]
    if not known:
        return math.nan
    values, weights = np.array(known).T
    return float(np.average(values, weights=weights))


def table(columns: dict[str, Sequence[Sequence[Pair]]]) -> str:
    """One row for each stand-in, one column for each question, as Markdown."""
    lines = [f"| stand-in | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, stand_in in STAND_INS.items():
        values = [mean_correlation(groups, stand_in) for groups in columns.values()]
        lines.append(f"| {name} | {' | '.join('–' if math.isnan(value) else f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def _size(groups: Sequence[Sequence[Pair]]) -> int:
    return sum(map(len, groups))


if __name__ == "__main__":
    main()
