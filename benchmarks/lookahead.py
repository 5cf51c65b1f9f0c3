"""Measure what Algorithm 1 learns when its draws use older losses: `TrialConfig.lookahead` from 0 (as written) upwards.

    python benchmarks/lookahead.py [--lookaheads 0 1 2 4 8] [--seeds 6] [--epochs 12]

Every setting trains the same model on `streets` with the same seeds. The differences to lookahead 0 are of the same
seed; behind them is the half-width of their 95% interval (Student's t). Trainings run side by side, one per core.
What each setting costs: `python benchmarks/step.py`.
"""

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from search_spaces.loading import load_space
from tce_core.data.dataset import open_dataset
from tce_core.data.streets.dataset import make_streets
from tce_core.training import train

MEASURES = {"mIoU": "miou", "worst quarter": "bottom_percentile_mean", "worst class": "worst_iou"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lookaheads", type=int, nargs="+", default=[0, 1, 2, 4, 8], help="default: 0 1 2 4 8")
    parser.add_argument("--seeds", type=int, default=6, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--t", type=float, default=1.0, help="the tilt (default: %(default)s)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "streets"
        make_streets(data, seed=0)
        jobs = [
            (data, {"loss": "stochastic_tilt", "t": options.t, "lookahead": k, "seed": seed, "epochs": options.epochs})
            for seed in range(options.seeds)
            for k in options.lookaheads
        ]
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
            found = np.array(list(pool.map(final_measures, jobs)))  # (seeds * lookaheads, measures)
    found = found.reshape(options.seeds, len(options.lookaheads), len(MEASURES))
    print(f"stochastic_tilt, t = {options.t:g}, {options.epochs} epochs of streets, {options.seeds} seeds\n")
    print(f"| lookahead | {' | '.join(f'{name} | difference' for name in MEASURES)} |")
    print(f"|---|{'---|---|' * len(MEASURES)}")
    for i, k in enumerate(options.lookaheads):
        cells = [
            f"{found[:, i, m].mean():.3f} | {difference(found[:, i, m] - found[:, 0, m])}" for m in range(len(MEASURES))
        ]
        print(f"| {k} | {' | '.join(cells)} |")


def final_measures(job: tuple[Path, dict[str, object]]) -> list[float]:
    """Train one configuration and return the measures of its last epoch."""
    torch.set_num_threads(1)
    path, changes = job
    config = load_space("streets").config({}).model_copy(update=changes)
    *_, last = train(config, open_dataset(path), device=torch.device("cpu"))
    report = last.report.as_dict()
    return [report[name] for name in MEASURES.values()]


def difference(values: np.ndarray) -> str:
    """Return the mean and the half-width of its 95% interval, or a dash for the reference itself."""
    if not values.any():
        return "–"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
