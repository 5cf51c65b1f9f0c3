"""How often does a sweep recommend what does not help, and how often does it find what does? Simulated sweeps.

    python benchmarks/proof.py [--sweeps 200] [--seeds 2 4 8]

Each sweep runs the real search, its race and its record; only the trainings are replaced by draws. A training's worst
class scatters over seeds with a standard deviation of 0.02, its mIoU with 0.005. In the first table no configuration is
better than the reference; in the second a fifth of them is, by two standard deviations.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.search import Search
from tce_core.results import EpochResult, Scores

SCATTER, SCATTER_MEAN = 0.02, 0.005
TRIALS = 30
SPACE = {
    "trial": {"epochs": 1},
    "space": {"loss": {"choices": ["class_tilt"]}, "t": {"low": 0.1, "high": 10, "log": True}},
    "baselines": {"mcce": {"loss": "mcce"}},
}


def sweep(seed: int, gain: float, confirm: int, folder: Path) -> tuple[bool, bool, int]:
    """Run one sweep. `gain`: of a fifth of the configurations, in IoU of the worst class.

    Returns:
        Whether it recommends another trial than the reference, whether that one is better in truth, and how many runs
        with fresh seeds it took.
    """
    rng = np.random.default_rng((seed, confirm))
    plan = Plan("p", "worst_iou", 0.01, "random", seed, TRIALS, confirm, "d", "f", SPACE, "own.yaml", 1, 1, 0.0)
    search = Search(Record.create(f"sqlite:///{folder}/{seed}-{confirm}-{gain}.db", plan))
    while (trial := search.next()) is not None:
        worst = 0.2 + _gain(trial, gain) + rng.normal(0, SCATTER)
        search.record_epoch(trial.number, _result(0.5 + rng.normal(0, SCATTER_MEAN), worst))
        search.record_end(trial.number)
    choice = search.outcome.choose()
    assert choice is not None
    return not choice.is_baseline, _gain(choice.trial, gain) > 0, len(search.record.trials("confirm"))


def _gain(trial: TrialRecord, gain: float) -> float:
    """A fifth of the range of t is better; the same configuration has the same gain with every seed."""
    t = trial.config["t"] if trial.label != "mcce" and trial.config["loss"] == "class_tilt" else 0.0
    return gain if 1 < t < 10**0.4 else 0.0


def _result(miou: float, worst: float) -> EpochResult:
    high = (4 * miou - worst) / 3
    return EpochResult(1, 0.5, 0.01, (Scores(0.0, (high, worst, high, high)),), None, 1.0, 0.1)


def rates(gain: float, confirm: int, sweeps: int) -> tuple[float, float, float]:
    """The shares of sweeps that recommend another trial than the reference, and rightly so; mean confirmation runs."""
    with tempfile.TemporaryDirectory() as folder:
        found = [sweep(seed, gain, confirm, Path(folder)) for seed in range(sweeps)]
    other, right, runs = np.mean(np.array(found, dtype=float), axis=0).tolist()
    return other, right, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=200, help="of each kind (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 4, 8], help="values of --confirm")
    options = parser.parse_args()
    print("| --confirm | no true gain: recommends another | runs | a true gain: recommends one that has it | runs |")
    print("|---|---|---|---|---|")
    for confirm in options.seeds:
        wrong, _, runs = rates(0.0, confirm, options.sweeps)
        _, right, better_runs = rates(2 * SCATTER, confirm, options.sweeps)
        print(f"| {confirm} | {wrong:.1%} | {runs:.1f} | {right:.1%} | {better_runs:.1f} |", flush=True)


if __name__ == "__main__":
    main()
