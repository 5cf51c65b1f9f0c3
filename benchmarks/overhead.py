"""Measure the cost of proposing, deciding and recording: our sweep and plain Ray Tune, with trials that take no time.

    python benchmarks/overhead.py [--trials 1000] [--samplers random tpe gp]

Every trial has two epochs. The runs follow one another in one Ray session:
- Tune: as installed. It draws at random, reuses its actors, and writes files of every result and of its own state.
- Tune, forgetful: the same with all these files turned off, so that it records nothing.
- ours: it asks a sampler, ranks trials at a rung (but lets all continue), and records every epoch in an SQLite study.

Each line of the table gives the mean time per trial up to that number of trials.
"""

import argparse
import os
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.execution.mailbox import Order
from sweeps.execution.ray_cluster import QUIET, start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroups
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.search import Search
from tce_core.results import EpochResult, Scores

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
    """Return a result with a trade-off between the objectives, so that fronts and rungs have work to do."""
    x = np.random.default_rng(number).random()
    return EpochResult(epoch, 0.0, 0.0, (Scores(0.0, (0.5 * x, 1 - 0.5 * x * x, 0.8)),), None, 0.0, 0.0)


def trainable() -> Any:
    """Return a Tune trainable whose epochs take no time."""
    from ray import tune

    class Instant(tune.Trainable):
        """Replaces a slot, its workers and their training."""

        def setup(self, config: dict[str, Any]) -> None:
            self.reset_config(config)

        def reset_config(self, config: dict[str, Any]) -> bool:
            self.number, self.epoch = config.get("order", {}).get("trial", 0), 0
            return True

        def step(self) -> dict[str, Any]:
            self.epoch += 1
            return {"result": outcome(self.number, self.epoch).to_json(), "end": self.epoch == 2}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            pass

        def load_checkpoint(self, checkpoint: Any) -> None:
            pass

    return Instant


class NoWorkers:
    """Replaces a group of workers: epochs take no time."""

    mailbox = None

    def __init__(self, settings: GroupSettings) -> None:
        pass

    def begin(self, order: Order) -> None:
        pass

    def stop(self) -> None:
        pass

    def wait(self, until: float) -> None:
        pass

    close = leave = kill = stop


class Clock:
    """A `Listener` that notes when each trial ends, in seconds since the clock was made."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.ends: list[float] = []

    def on_trial_start(self, number: int) -> None:
        pass

    def on_epoch(self, number: int) -> None:
        pass

    def on_trial_end(self, number: int) -> None:
        self.ends.append(time.perf_counter() - self.began)


def plain(trials: int, slots: int, folder: str) -> list[float]:
    """Run Tune alone without its files, and return when each trial ended."""
    from ray import tune

    class Tell(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            clock.on_trial_end(0)

    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    tuner = tune.Tuner(
        tune.with_resources(trainable(), resources),
        param_space={"t": tune.loguniform(0.1, 10), "lr": tune.loguniform(0.003, 0.1)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=slots, reuse_actors=True),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex[:8],
            storage_path=f"{folder}/tune",
            verbose=0,
            stop={"end": True},
            callbacks=[Tell()],
        ),
    )
    clock = Clock()
    tuner.fit()
    return clock.ends


def as_installed(trials: int, slots: int, folder: str) -> list[float]:
    """Run Tune alone with the files that we usually turn off, and return when each trial ended."""
    for name in QUIET:
        os.environ.pop(name, None)
    try:
        return plain(trials, slots, folder)
    finally:
        os.environ.update(QUIET)


def ours(trials: int, slots: int, folder: str, sampler: str) -> list[float]:
    """Run Tune with our searcher, scheduler and record, and return when each trial ended."""
    from sweeps.execution.tune import tune_until_done  # it imports ray, so only after `start_ray`

    name = uuid.uuid4().hex[:8]
    plan = Plan(
        name=name,
        objective="worst_iou",
        allowance=0.01,
        sampler=sampler,
        seed=0,
        trials=trials,
        confirm=0,
        dataset="",
        fingerprint="",
        space=SPACE,
        space_file="own",
        workers=1,
        cpus_per_worker=1,
        gpus_per_worker=0.0,
        rungs=(1,),
        keep=1.0,
    )
    search = Search(Record.create(f"sqlite:///{folder}/{name}.db", plan))
    group = GroupSettings("", f"{folder}/checkpoints", f"{folder}/ray", 1, 1, 0.0)
    clock = Clock()
    groups = WorkerGroups(group, NoWorkers)
    groups.begin(slots)
    tune_until_done(search, groups, (clock,), trainable())
    return clock.ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="trials per run (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=1, help="trials at a time (default: %(default)s)")
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe", "gp"], help="default: random tpe gp")
    parser.add_argument("--alone", action="store_true", help="run only ours, without plain Tune")
    options = parser.parse_args()
    start_ray(None)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        Path(folder, "ray").mkdir()
        given = options.trials, options.slots, folder
        curves = {} if options.alone else {"Tune": as_installed(*given), "Tune, forgetful": plain(*given)}
        curves |= {f"ours, {sampler}": ours(*given, sampler) for sampler in options.samplers}
    marks = [n for power in range(2, 9) for n in (10**power, 3 * 10**power) if n <= options.trials]
    print("ms per trial (relative to Tune as installed)\n\n" + f"{'trials':>7}" + "".join(f"{x:>20}" for x in curves))
    for mark in marks:
        base = curves["Tune"][mark - 1] if "Tune" in curves else None
        cells = [
            f"{1000 * ends[mark - 1] / mark:.0f}" + (f" ({ends[mark - 1] / base:.2f})" if base else "")
            for ends in curves.values()
        ]
        print(f"{mark:>7}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
