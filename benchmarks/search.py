"""Compare our search with the alternatives on the learning curves of 34 tasks: what does it find per epoch spent?

    pip install onnxruntime syne-tune
    python benchmarks/search.py FOLDER [--seeds 10] [--out results.csv]

FOLDER contains the YAHPO LCBench surrogate (see `lcbench.py`). The budget of a run is 30 full trainings. The measure is
the relative hypervolume of all values so far, at any epoch. The settings of our search were chosen on the first 12
tasks (`--variants`).

An interrupted benchmark continues where it stopped: runs in the results file are not repeated. Remove the file after a
change of the code.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import moocore
import numpy as np
import numpy.typing as npt
from lcbench import EPOCHS, Surrogate, Yardstick
from methods import METHODS, VARIANTS
from scipy.stats import wilcoxon
from simulation import events

BUDGET = 30 * EPOCHS
MARKS = np.arange(EPOCHS // 2, BUDGET + 1, EPOCHS // 2)  # in epochs: every half of a full training
TUNED = 12
"""Number of tasks on which the settings were chosen."""
Key = tuple[str, str, int, int]
"""Method, task, seed, trials at a time."""
Curves = dict[Key, npt.NDArray[np.float64]]
"""The result of `run` for each key."""


@cache
def surrogate(folder: str) -> Surrogate:
    return Surrogate(Path(folder))


@cache
def yardstick(folder: str, task: str) -> Yardstick:
    return Yardstick(surrogate(folder), task)


def run(folder: str, method: str, task: str, seed: int, slots: int) -> list[float]:
    """Run one search.

    Returns:
        The relative hypervolume at each of `MARKS`, then the final one of the fully trained configurations alone.
    """
    import torch

    torch.set_num_threads(1)
    measure = yardstick(folder, task)
    # Each task has its own seeds. Otherwise all tasks would start from the same configurations: only ten random draws.
    own = 100 * surrogate(folder).tasks.index(task) + seed
    search = {**METHODS, **VARIANTS}[method](surrogate(folder), task, own)
    front, trained = np.empty((0, 2)), np.empty((0, 2))
    volumes = []
    for spent, complete, values in events(search, slots, BUDGET):
        front = non_dominated(front, values)
        if complete:
            trained = non_dominated(trained, values)
        if spent % MARKS[0] == 0:
            volumes.append(measure(front))
    return [*volumes, measure(trained)]


def non_dominated(front: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add values (2,) to a front (n, 2), and drop the points that are dominated then."""
    points = np.vstack([front, values])
    return points[moocore.is_nondominated(points)]


def complete(folder: str, keys: Iterable[Key], out: Path, jobs: int) -> None:
    """Run the keys that the results file lacks, and append each result at once."""
    found = read(out)
    missing = [key for key in keys if key not in found]
    with ProcessPoolExecutor(jobs) as pool, open(out, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        futures = {pool.submit(run, folder, *key): key for key in missing}
        for done, future in enumerate(as_completed(futures), start=1):
            writer.writerow([*futures[future], *(f"{volume:.5f}" for volume in future.result())])
            file.flush()
            print(f"\r{done} of {len(missing)} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def read(path: Path) -> Curves:
    """Read a results file; a missing file is empty."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(row[0], row[1], int(row[2]), int(row[3])): np.array(row[4:], dtype=float) for row in csv.reader(file)}


def show(curves: Curves, methods: list[str], tasks: list[str], seeds: int, slots: int, title: str) -> None:
    """Print a table: hypervolumes, speed relative to random search, and a paired test against the first method."""
    volumes = {m: np.array([[curves[m, task, i, slots] for i in range(seeds)] for task in tasks]) for m in methods}
    print(f"\n{title}: {len(tasks)} tasks x {seeds} seeds; relative hypervolume, mean +- standard error over seeds\n")
    print(f"{'':<26}{'after 10':>17}{'after 30':>17}{'trained, 30':>13}{'x random':>10}{'3x on':>7}{'p':>10}")
    for method in methods:
        at = [volumes[method][:, :, MARKS.tolist().index(mark)] for mark in (10 * EPOCHS, BUDGET)]
        cells = [f"{x.mean():.3f} +- {x.mean(axis=0).std(ddof=1) / seeds**0.5 if seeds > 1 else 0:.3f}" for x in at]
        trained = f"{volumes[method][:, :, -1].mean():.3f}"
        factor, share, p = "", "", ""
        if "random, full" in methods:
            speed = speedups(volumes[method], volumes["random, full"])
            factor, share = f"{np.median(speed):.1f}", f"{(speed >= 3).mean():.0%}"
        if method != methods[0] and len(tasks) > 1:
            pairs = volumes[methods[0]][:, :, len(MARKS) - 1].mean(axis=1), at[1].mean(axis=1)
            p = f"{wilcoxon(*pairs).pvalue:.1e}"
        print(f"{method:<26}{cells[0]:>17}{cells[1]:>17}{trained:>13}{factor:>10}{share:>7}{p:>10}")
    print(
        "\nafter 10, after 30: all values, after as many epochs as 10 and 30 full trainings take"
        "\ntrained, 30: fully trained configurations alone, after 30"
        "\nx random: how many times fewer epochs reach random search's final hypervolume (means over seeds, median over"
        " tasks)\n3x on: share of the tasks where that factor is 3 or more"
        f"\np: Wilcoxon signed-rank test over tasks against {methods[0]}, after 30"
    )


def speedups(volumes: npt.NDArray[np.float64], random: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compare a method with random search.

    Args:
        volumes: (tasks, seeds, marks + 1) results of the method.
        random: the same of random search.

    Returns:
        (tasks,) how many times fewer epochs reach the final hypervolume of random search, both as means over seeds;
        0 if the method does not reach it.
    """
    target = random[:, :, len(MARKS) - 1].mean(axis=1)
    reached = volumes[:, :, : len(MARKS)].mean(axis=1) >= target[:, None]
    return BUDGET / np.where(reached.any(axis=1), MARKS[reached.argmax(axis=1)], np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of the surrogate's files")
    parser.add_argument("--seeds", type=int, default=10, help="seeds per task (default: %(default)s)")
    parser.add_argument(
        "--slots", type=int, default=1, help="trials at a time, in simulated time (default: %(default)s)"
    )
    parser.add_argument(
        "--variants", action="store_true", help="compare other settings of our search on the first 12 tasks"
    )
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *VARIANTS], help="methods to compare (default: all)")
    parser.add_argument("--tasks", type=int, help="number of tasks, from the first (default: all)")
    parser.add_argument("--out", type=Path, default=Path("search.csv"), help="results file (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: all CPUs)")
    options = parser.parse_args()
    tasks = surrogate(options.folder).tasks[: TUNED if options.variants else options.tasks]
    methods = options.methods or (["ours", *VARIANTS] if options.variants else list(METHODS))
    keys = [(m, task, seed, options.slots) for seed in range(options.seeds) for m in methods for task in tasks]
    complete(options.folder, keys, options.out, options.jobs)
    curves = read(options.out)
    show(curves, methods, tasks, options.seeds, options.slots, "All tasks")
    if len(tasks) > TUNED:
        title = "Tasks that were not used to choose the settings"
        show(curves, methods, tasks[TUNED:], options.seeds, options.slots, title)


if __name__ == "__main__":
    main()
