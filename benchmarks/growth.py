"""Measure how costs grow with the number of trials, classes, images and workers, and with what exponent.

    python benchmarks/growth.py [--parts trials classes images workers]

Each line gives the milliseconds at growing sizes n, and the exponent of their growth: the slope of log(cost) over
log(n) from the first to the last size. 0 is constant, 1 is linear, 2 is quadratic. Of what happens once per trial or
per step, the last column gives the exponent of the total over n of them. Results and pixel counts are drawn at random,
and nothing is trained; the search, the record in SQLite, the samplers and the Arrow files are the real ones.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from records import EPOCHS, begin, lengthen, plan, result
from splits import write_split

from sweeps.commands.listing import list_sweeps
from sweeps.execution.checkpoints import CheckpointKeeper
from sweeps.reporting.mlflow_view import SweepView
from sweeps.storage.record import Record
from sweeps.strategy.options import Runtime
from sweeps.strategy.search import Search
from tce_core.config import TrialConfig
from tce_core.confusion import confusion_matrix, image_counts
from tce_core.data.dataset import Split
from tce_core.distributed import global_sum
from tce_core.evidence.intervals import image_intervals
from tce_core.fairness import fairness_report
from tce_core.sampling import build_sampler
from tce_core.stochastic import StochasticTilt

Costs = dict[str, list[float]]
"""For each thing measured, its seconds at each size."""
Work = dict[str, Callable[[], object]]
"""What to measure, by name."""
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for part in options.parts:
        started = time.perf_counter()
        sizes, costs = PARTS[part]()
        show(part, sizes, costs)
        print(f"\nmeasured in {time.perf_counter() - started:.0f} s\n", flush=True)


def show(part: str, sizes: list[int], costs: Costs) -> None:
    """Print one table in Markdown."""
    print(f"| {part} | " + " | ".join(f"{n:,}" for n in sizes) + " | exponent | of the total |")
    print("|---" * (len(sizes) + 3) + "|")
    for what, seconds in costs.items():
        each = " per " in what
        total = f"{exponent(sizes, totals(sizes, seconds)):.2f}" if each else "-"
        cells = " | ".join(f"{1000 * s:.2f}" for s in seconds)
        print(f"| {what} | {cells} | {exponent(sizes, seconds):.2f} | {total} |")


def exponent(sizes: list[int], costs: list[float]) -> float:
    """Return the slope of log(cost) over log(size), from the first to the last size."""
    return float(np.log(costs[-1] / costs[0]) / np.log(sizes[-1] / sizes[0]))


def totals(sizes: list[int], each: list[float]) -> list[float]:
    """Return the cost of the first n, for each n of `sizes`, if the k-th costs what `each` says, linear in between."""
    steps = np.diff([0, *sizes]) * (np.array([each[0], *each[:-1]]) + each) / 2
    return np.cumsum(steps).tolist()


def seconds_of(action: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median seconds of a call, after one call that does not count."""
    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return float(np.median(found[1:]))


def trials() -> tuple[list[int], Costs]:
    """The driver's events and commands, by the number of ended trials in the record."""
    sizes, costs = [100, 1000, 10_000], Costs()
    names = tuple(f"class {i}" for i in range(19))
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/sweeps.db"
        search = begin(storage, plan("random", patience=10**9, max_hours=10.0**6))
        runtime = Runtime(storage=storage, runs=Path(folder, "runs"))
        for size in sizes:
            search = lengthen(search, size)
            found = events(search, names)
            found["read the record, as `--resume` does"] = [seconds_of(lambda: Search(Record.load(storage, "long")), 1)]
            found["`list`"] = [seconds_of(lambda: list_sweeps(runtime), 1)]
            for what, seconds in found.items():
                costs.setdefault(what, []).append(float(np.median(seconds)))
    return sizes, costs


def events(search: Search, names: tuple[str, ...]) -> Costs:
    """Run some trials, and return the seconds of each kind of event."""
    found = Costs()
    keeper = CheckpointKeeper(Path("unused"), search.outcome)
    for _ in range(ROUNDS):
        run_trial(search, keeper, found)
    times = {what: EPOCHS if what.endswith("per epoch") else 1 for what in found}
    found[f"all of these for {EPOCHS} epochs, per trial"] = [
        sum(n * np.median(found[what]) for what, n in times.items())
    ]
    what = "what MLflow should show, per event (in its own thread)"
    found[what] = [seconds_of(lambda: SweepView(search.outcome, names).trial(0))]
    observed = search.observations.all()
    for sampler in ("tpe", "gp"):
        search.proposer.sampler = sampler
        what = f"propose by {sampler}, per trial (in its own thread)"
        found[what] = [seconds_of(lambda: search.proposer.next(observed), 2)]
    return found


def run_trial(search: Search, keeper: CheckpointKeeper, found: Costs) -> None:
    """Run a trial as Ray Tune's driver does, and add the seconds of its events to `found`."""

    def timed(what: str, action: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        answer = action()
        found.setdefault(what, []).append(time.perf_counter() - started)
        return answer

    trial = timed("begin the next, per trial", search.next)
    results = (result(trial.params, trial.number, epoch) for epoch in itertools.count(1))
    while timed("record an epoch, per epoch", lambda: search.record_epoch(trial.number, next(results))):
        timed("the progress bar's numbers, per epoch", lambda: search.epochs_expected)
    timed("record its end, per trial", lambda: search.record_end(trial.number))
    timed("choose the checkpoints to keep, per trial", lambda: keeper.on_trial_end(trial.number))


def classes() -> tuple[list[int], Costs]:
    """Counting and summarising, by the number of classes."""
    return measured([19, 38, 75, 150], class_work)


def class_work(k: int) -> Work:
    """An image has 512x1024 pixels; the intervals are over 500 images."""
    rng = np.random.default_rng(k)
    labels, guess = (torch.from_numpy(rng.integers(0, k, (512, 1024), dtype=np.uint8)).long() for _ in range(2))
    confusion = torch.from_numpy(rng.integers(0, 10**6, (k, k)))
    counts, ious = rng.integers(0, 10**4, (500, 3, k)), rng.random(k)
    tilt = StochasticTilt(k, 1.0, 0.1)
    return {
        "confusion of one image": lambda: confusion_matrix(guess, labels, k),
        "counts of one image": lambda: image_counts(confusion),
        "all fairness measures": lambda: fairness_report(ious),
        "intervals": lambda: image_intervals(counts),
        "update of the tilt after a draw": lambda: (tilt.update(0, 1.0), tilt.weights),
    }


def images() -> tuple[list[int], Costs]:
    """Opening a split and drawing batches, by the number of images (one pixel each, 19 classes)."""
    with tempfile.TemporaryDirectory() as folder:
        return measured([100, 1000, 10_000, 100_000, 1_000_000], lambda n: image_work(Path(folder, "train.arrow"), n))


def image_work(path: Path, n: int) -> Work:
    """`path` is written anew."""
    write_split(path, n)
    counts, steps = Split(path).pixel_counts, itertools.count()
    by_class = TrialConfig(loss="stochastic_tilt", t=1.0)
    by_image = TrialConfig(loss="stochastic_tilt", t=1.0, level="image")
    shuffle, classwise, imagewise = (build_sampler(config, counts) for config in (TrialConfig(), by_class, by_image))
    return {
        "open the split": lambda: Split(path),
        "pixels of each class": lambda: counts.sum(axis=0),
        "groups of Algorithm 1": lambda: build_sampler(by_class, counts),
        "draw by shuffling, per step": lambda: shuffle.draw(next(steps)),
        "draw by Algorithm 1, per step": lambda: classwise.draw(next(steps)),
        "draw by Algorithm 1 over images, per step": lambda: imagewise.draw(next(steps)),
    }


def measured(sizes: list[int], work: Callable[[int], Work]) -> tuple[list[int], Costs]:
    """Time the work of each size."""
    costs = Costs()
    for size in sizes:
        for what, action in work(size).items():
            costs.setdefault(what, []).append(seconds_of(action))
    return sizes, costs


def workers() -> tuple[list[int], Costs]:
    """What ranks tell each other, by gloo on one machine. More ranks than cores also wait for each other."""
    sizes, costs = [2, 3, 4], Costs()
    for world in sizes:
        with tempfile.TemporaryDirectory() as folder:
            torch.multiprocessing.spawn(_rank, (world, folder), nprocs=world)
            for what, seconds in torch.load(Path(folder, "costs"), weights_only=True).items():
                costs.setdefault(what, []).append(seconds)
    return sizes, costs


def _rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=world)
    sums = {
        "sum of a confusion matrix of 19 classes": torch.ones(19, 19, dtype=torch.int64),
        "sum of the counts of 500 images": torch.ones(500, 3, 19, dtype=torch.int64),
        "sum of a gradient of 5 million numbers": torch.ones(5_000_000),
    }
    costs = {what: seconds_of(lambda v=values: global_sum(v), 10) for what, values in sums.items()}
    if rank == 0:
        torch.save(costs, Path(folder, "costs"))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


PARTS = {"trials": trials, "classes": classes, "images": images, "workers": workers}


if __name__ == "__main__":
    main()
