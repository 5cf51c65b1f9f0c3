"""Measure the time of a trial that is not training, for warm slots and for a `TorchTrainer` per Tune trial.

    python benchmarks/slots.py [--trials 6]

The second pattern is the documented one. Both patterns run the same short trials on the same data, one after the other
in one Ray session, with as many trials at a time as there are cores (at most two). The overhead of a trial is its wall
time in Tune's driver minus the time of training and evaluation that its worker measured.
"""

import argparse
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeps.execution.ray_cluster import start_ray
from sweeps.execution.worker_group import GroupSettings, WorkerGroup
from tce_core.config import TrialConfig
from tce_core.data.streets.dataset import make_streets

CONFIG = TrialConfig(
    encoder="tu-mobilenetv3_small_050", decoder_channels=64, crop=(64, 96), epochs=2, steps_per_epoch=4
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="trials per pattern (default: %(default)s)")
    options = parser.parse_args()
    at_once = min(2, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(prefix="slots-") as folder:
        data = make_streets(Path(folder, "streets"), train=32, val=8, test=8)
        start_ray(None)
        import ray

        from sweeps.execution.slot import Slot

        # A slot never ends a trial by itself; a trial of the documented pattern ends with its function.
        class OwnWorkers(Slot):
            """A slot that starts its workers itself, so that the wall time of its first trial holds their start."""

            def setup(self, config: dict[str, Any]) -> None:
                self.workers = WorkerGroup(config["group"])
                super().setup(config)

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                return super().reset_config(new_config | {"mailbox": self.workers.mailbox})

            def cleanup(self) -> None:
                self.workers.close()

        ours = run(OwnWorkers, options.trials, at_once, folder, stop={"training_iteration": CONFIG.epochs})
        documented = run(with_trainer_per_trial(str(data.path), folder), options.trials, at_once, folder)
        ray.shutdown()
    show(ours, documented, at_once)


def run(
    trainable: Any, trials: int, at_once: int, folder: str, stop: dict[str, int] | None = None
) -> list[tuple[float, float]]:
    """Run the trials, and return the wall and training seconds of each, in the order in which they ended."""
    from ray import tune

    clock = Clock()
    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={
            "number": tune.grid_search(list(range(trials))),
            "trial": CONFIG.model_dump(mode="json"),
            "epoch": 0,
            "group": GroupSettings(f"{folder}/streets", f"{folder}/checkpoints", f"{folder}/ray", 1, 1, 0),
        },
        tune_config=tune.TuneConfig(max_concurrent_trials=at_once, reuse_actors=True),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex[:8], storage_path=f"{folder}/tune", verbose=0, callbacks=[clock.callback()], stop=stop
        ),
    ).fit()
    return clock.trials


class Clock:
    """The view of Tune's driver: when trials start, what they report, and when they end."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}
        self.training: dict[str, float] = {}
        self.trials: list[tuple[float, float]] = []

    def callback(self) -> Any:
        """Return a Tune callback that feeds this clock."""
        from ray import tune

        clock = self

        class Callback(tune.Callback):
            def on_trial_start(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
                clock.starts[trial.trial_id] = time.perf_counter()

            def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **info: Any) -> None:
                seconds = training_seconds(result)
                clock.training[trial.trial_id] = clock.training.get(trial.trial_id, 0.0) + seconds

            def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
                wall = time.perf_counter() - clock.starts[trial.trial_id]
                clock.trials.append((wall, clock.training[trial.trial_id]))

        return Callback()


def training_seconds(result: dict[str, Any]) -> float:
    """Return the seconds of training and evaluation of one reported epoch."""
    from tce_core.results import EpochResult

    if "result" not in result:  # the report of the end of a function
        return 0.0
    epoch = EpochResult.from_json(result["result"])
    return epoch.train_seconds + epoch.evaluation_seconds


def with_trainer_per_trial(dataset: str, folder: str) -> Callable[[dict[str, Any]], None]:
    """Return the driver function of a trial, as in Ray's user guide "Hyperparameter tuning with Ray Tune"."""

    def train_worker(config: dict[str, Any]) -> None:
        import ray.train
        import torch

        from tce_core.data.dataset import open_dataset
        from tce_core.training import train

        torch.set_num_threads(1)
        for result in train(TrialConfig(**config["trial"]), open_dataset(dataset)):
            ray.train.report({"result": result.to_json()})

    def drive(config: dict[str, Any]) -> None:
        import ray.train
        from ray.train.torch import TorchTrainer
        from ray.tune.integration.ray_train import TuneReportCallback

        TorchTrainer(
            train_worker,
            train_loop_config={"trial": config["trial"]},
            scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=ray.train.RunConfig(
                name=f"trial-{uuid.uuid4().hex[:8]}", storage_path=f"{folder}/train", callbacks=[TuneReportCallback()]
            ),
        ).fit()

    return drive


def show(ours: list[tuple[float, float]], documented: list[tuple[float, float]], at_once: int) -> None:
    """Print the table. The first `at_once` trials of slots start the workers."""
    warm = [wall - training for wall, training in ours[at_once:]]
    cold = [wall - training for wall, training in ours[:at_once]]
    theirs = [wall - training for wall, training in documented]
    print(f"{len(ours)} trials, {at_once} at a time, {statistics.mean(t for _, t in ours):.1f} s of training each\n")
    print("| pattern | overhead per trial, median | relative |\n|---|---|---|")
    for name, seconds in (
        ("slot, later trials", warm),
        ("slot, first trial (starts the workers)", cold),
        ("a `TorchTrainer` per trial", theirs),
    ):
        median = statistics.median(seconds)
        print(f"| {name} | {median:.2f} s | {median / statistics.median(warm):.0f}x |")
    total = [sum(wall for wall, _ in trials) / at_once for trials in (ours, documented)]
    print(f"\nAll {len(ours)} trials: {total[0]:.0f} s with slots, {total[1]:.0f} s with a trainer per trial.")


if __name__ == "__main__":
    main()
