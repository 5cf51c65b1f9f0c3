"""What asking, deciding and recording cost: our sweep against plain Ray Tune, both with trials that take no time.

    python benchmarks/overhead.py [--trials 100 300 1000] [--sampler gp]

Plain Tune draws at random, keeps nothing but its own files and reuses its actors. Ours asks the sampler, halves, and
records every epoch in an SQLite study. One trial at a time, two epochs each, in one Ray session, in turns.
"""

import argparse
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.cluster import start_ray
from sweeps.record import Plan, Record
from sweeps.search import Search
from sweeps.sweep import tune_until_done
from sweeps.workers import GroupSettings
from tce_core.results import EpochResult

SPACE = {
    "trial": {"epochs": 2, "crop": [32, 32]},
    "space": {
        "loss": {"choices": ["class_tilt", "image_tilt", "stochastic_tilt"]},
        "t": {"low": 0.1, "high": 10, "log": True},
        "gamma": {"low": 0.01, "high": 0.5, "log": True, "when": {"loss": "stochastic_tilt"}},
        "lr": {"low": 0.003, "high": 0.1, "log": True},
    },
}


def outcome(number: int, epoch: int) -> EpochResult:
    """Some trade-off, so that fronts and rungs have work to do."""
    x = np.random.default_rng(number).random()
    return EpochResult(epoch, 0.0, 0.0, (0.5 * x, 1 - 0.5 * x * x, 0.8), {}, None, 0.0, 0.0)


def trainable() -> Any:
    from ray import tune

    class Instant(tune.Trainable):
        """Stands in for a slot, its workers and their training."""

        def setup(self, config: dict[str, Any]) -> None:
            self.reset_config(config)

        def reset_config(self, config: dict[str, Any]) -> bool:
            self.number, self.epoch = config.get("number", 0), 0
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            return {"result": outcome(self.number, self.epoch).to_json(), "end": self.epoch == 2}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    return Instant


def plain(trials: int, slots: int, folder: str) -> float:
    """Seconds that Tune takes."""
    from ray import tune

    began = time.perf_counter()
    tune.Tuner(
        tune.with_resources(trainable(), tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])),
        param_space={"t": tune.loguniform(0.1, 10), "lr": tune.loguniform(0.003, 0.1)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=slots, reuse_actors=True),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex[:8], storage_path=f"{folder}/tune", verbose=0, stop={"end": True}
        ),
    ).fit()
    return time.perf_counter() - began


def ours(trials: int, slots: int, folder: str, sampler: str) -> float:
    """Seconds that the same takes with our searcher, scheduler and record."""
    name = uuid.uuid4().hex[:8]
    plan = Plan(name, "worst_iou", 0.01, sampler, 0, trials, 0, "", "", SPACE, "own", 1, 1, 0.0, (1,), 0.5)
    search = Search(Record.create(f"sqlite:///{folder}/{name}.db", plan))
    group = GroupSettings("", f"{folder}/checkpoints", f"{folder}/ray", 1, 1, 0.0)
    began = time.perf_counter()
    tune_until_done(search, group, slots, (), trainable())
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--slots", type=int, default=1, help="trials at a time (default: %(default)s)")
    parser.add_argument("--sampler", default="gp")
    options = parser.parse_args()
    start_ray(None)
    print(f"{'trials':>7}{'plain Tune':>14}{'ours':>14}{'ratio':>8}   per trial")
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        Path(folder, "ray").mkdir()
        for trials in options.trials:
            base, own = plain(trials, options.slots, folder), ours(trials, options.slots, folder, options.sampler)
            each = f"{1000 * base / trials:.0f} ms   {1000 * own / trials:.0f} ms"
            print(f"{trials:>7}{base:>12.1f} s{own:>12.1f} s{own / base:>8.2f}   {each}", flush=True)


if __name__ == "__main__":
    main()
