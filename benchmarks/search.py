"""How much search an epoch buys: ours against what a user would take instead, on learning curves of 34 tasks.

    pip install onnxruntime syne-tune
    python benchmarks/search.py FOLDER [--seeds 10] [--out results.csv]

FOLDER holds the YAHPO LCBench surrogate (see `lcbench`). The budget is 30 full trainings; what is compared is the
relative hypervolume of everything measured so far, at whatever epoch. Runs that are in the results file already are not
run again, so that an interrupted benchmark goes on; remove the file when the code has changed. Settings were chosen on
the first 12 tasks (`--variants`).
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
from methods import METHODS, VARIANTS, events
from scipy.stats import wilcoxon

BUDGET = 30 * EPOCHS
MARKS = np.arange(EPOCHS // 2, BUDGET + 1, EPOCHS // 2)  # epochs: every half of a full training
TUNED = 12
"""How many of the tasks the settings were chosen on."""
Key = tuple[str, str, int, int]
"""Method, task, seed, and trials at a time."""
Curves = dict[Key, npt.NDArray[np.float64]]


@cache
def surrogate(folder: str) -> Surrogate:
    return Surrogate(Path(folder))


@cache
def yardstick(folder: str, task: str) -> Yardstick:
    return Yardstick(surrogate(folder), task)


def run(folder: str, method: str, task: str, seed: int, slots: int) -> list[float]:
    """Relative hypervolume at each of `MARKS`, and at the end that of the fully trained alone."""
    import torch

    torch.set_num_threads(1)
    measure = yardstick(folder, task)
    # A seed of its own for each task: with the same first configurations on all of them, ten seeds would be ten draws.
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
    points = np.vstack([front, values])
    return points[moocore.is_nondominated(points)]


def complete(folder: str, keys: Iterable[Key], out: Path, jobs: int) -> None:
    """Run what the results file does not hold yet, and add it there at once."""
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
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {(row[0], row[1], int(row[2]), int(row[3])): np.array(row[4:], dtype=float) for row in csv.reader(file)}


def show(curves: Curves, methods: list[str], tasks: list[str], seeds: int, slots: int, title: str) -> None:
    """Means over tasks and seeds; per task, the epochs it takes to random's final hypervolume; a paired test."""
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
        if method != methods[0]:
            pairs = volumes[methods[0]][:, :, len(MARKS) - 1].mean(axis=1), at[1].mean(axis=1)
            p = f"{wilcoxon(*pairs).pvalue:.1e}"
        print(f"{method:<26}{cells[0]:>17}{cells[1]:>17}{trained:>13}{factor:>10}{share:>7}{p:>10}")
    print(
        "\nafter 10, 30: full trainings' worth of epochs; trained, 30: of fully trained configurations alone; x random:"
        "\nmedian over tasks of how many times fewer epochs reach random search's final hypervolume, both as means over"
        "\nseeds; 3x on: tasks where that is 3 or more; p: Wilcoxon signed-rank over tasks, after 30, against "
        f"{methods[0]}"
    )


def speedups(volumes: npt.NDArray[np.float64], random: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(tasks,) how many times fewer epochs than random search reach what it reached in all, in means over seeds."""
    target = random[:, :, len(MARKS) - 1].mean(axis=1)
    reached = volumes[:, :, : len(MARKS)].mean(axis=1) >= target[:, None]
    return BUDGET / np.where(reached.any(axis=1), MARKS[reached.argmax(axis=1)], np.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the surrogate's files")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slots", type=int, default=1, help="trials at a time, in simulated time (default: 1)")
    parser.add_argument("--variants", action="store_true", help="other settings of ours, on the first 12 tasks")
    parser.add_argument("--methods", nargs="+", choices=[*METHODS, *VARIANTS], help="default: all")
    parser.add_argument("--tasks", type=int, help="the first N tasks alone")
    parser.add_argument("--out", type=Path, default=Path("search.csv"), help="where each run's result is kept")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    tasks = surrogate(options.folder).tasks[: TUNED if options.variants else options.tasks]
    methods = options.methods or (["ours", *VARIANTS] if options.variants else list(METHODS))
    keys = [(m, task, seed, options.slots) for seed in range(options.seeds) for m in methods for task in tasks]
    complete(options.folder, keys, options.out, options.jobs)
    curves = read(options.out)
    show(curves, methods, tasks, options.seeds, options.slots, "All tasks")
    if len(tasks) > TUNED:
        others = "Tasks that had no part in choosing the settings"
        show(curves, methods, tasks[TUNED:], options.seeds, options.slots, others)


if __name__ == "__main__":
    main()
