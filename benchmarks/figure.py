"""Plot the results of `search.py`: hypervolume over the epochs spent.

python benchmarks/figure.py search.csv docs/search.png
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from lcbench import EPOCHS
from search import MARKS, TUNED, read

# The colours of Okabe and Ito, which colour-blind people can distinguish.
DRAWN = {
    "ours": ("#0072B2", "-", "ours: GP, two-objective halving"),
    "Optuna GP, full": ("#0072B2", ":", "Optuna GP, full trainings"),
    "ours, TPE": ("#D55E00", "-", "ours with TPE"),
    "Optuna TPE, full": ("#D55E00", ":", "Optuna TPE, full trainings"),
    "MO-ASHA, mended": ("#009E73", "-", "MO-ASHA (Syne Tune's, mended)"),
    "random, full": ("#000000", ":", "random, full trainings"),
}


def main(source: Path, target: Path) -> None:
    """Plot the CSV file `source` into the image file `target`."""
    curves = {key: curve for key, curve in read(source).items() if key[-1] == 1}  # one trial at a time
    tasks = list(dict.fromkeys(task for _, task, _, _ in curves))
    done = [{seed for m, t, seed, _ in curves if (m, t) == (method, task)} for method in DRAWN for task in tasks]
    seeds = sorted(set.intersection(*done))  # the seeds that all have; the benchmark may still run
    figure, axes = plt.subplots(figsize=(7.5, 4.4), dpi=150, layout="constrained")
    trainings = np.concatenate([[0], MARKS / EPOCHS])
    ends = []
    for method, (colour, line, label) in DRAWN.items():
        runs = np.array([[curves[method, task, seed, 1][: len(MARKS)] for task in tasks] for seed in seeds])
        mean = np.concatenate([[0], runs.mean(axis=(0, 1))])
        axes.plot(trainings, mean, color=colour, linestyle=line, linewidth=2, label=label)
        ends.append((mean[-1], colour))
    height = 0.0
    for end, colour in sorted(ends):  # numbers at the ends of the lines, without overlap
        height = max(end, height + 0.045)
        axes.annotate(f"{end:.2f}", (30.2, height), va="center", fontsize=9, color=colour)
    axes.set(xlim=(0, 31.8), ylim=(0, None), xlabel="epochs spent, in full trainings of 52")
    axes.set_ylabel("relative hypervolume\n(1: 3,000 random full trainings)")
    axes.set_title(f"34 LCBench tasks, {len(seeds)} seeds, two objectives" if len(tasks) > TUNED else "", fontsize=11)
    axes.grid(color="#dddddd")
    axes.legend(loc="lower right", fontsize=9, frameon=True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="results of search.py, a CSV file")
    parser.add_argument("target", type=Path, help="image file to write")
    main(**vars(parser.parse_args()))
