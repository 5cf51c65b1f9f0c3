"""One sweep from plan to exported file: starts Ray, drives Tune, keeps everybody informed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sweeps.execution.interrupt import stop_on_interrupt
from sweeps.execution.listener import Background, Listener
from sweeps.execution.preflight import preflight
from sweeps.execution.ray_cluster import slots_that_fit, start_ray
from sweeps.execution.worker_group import GroupSettings, checkpoint_path
from sweeps.export import exported, write_yaml
from sweeps.reporting.terminal import ProgressDisplay, summary, wide_console
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.search import Search
from tce_core.data.builtin import built_in_path
from tce_core.data.dataset import Dataset
from tce_core.errors import UserError


@dataclass(frozen=True)
class Runtime:
    """Where a sweep runs and is kept; not part of what it does."""

    address: str | None
    concurrent: int | None
    tracking_uri: str
    folder: Path


@contextlib.contextmanager
def cluster(plan: Plan, data: Dataset, options: Runtime) -> Iterator[int]:
    """A running Ray, checked to hold the plan's trials; gives how many at a time. Ray is left at the end.

    Raises:
        UserError: settings that cannot be used (see `preflight`), or not even one trial fits.
    """
    with ThreadPoolExecutor(1) as pool:  # importing torch and starting Ray take many seconds each
        checked = pool.submit(preflight, plan, data)
        try:
            available = start_ray(options.address)
            checked.result()
            yield slots_that_fit(
                available, plan.workers, plan.cpus_per_worker, plan.gpus_per_worker, options.concurrent
            )
        finally:
            import ray  # not before `start_ray` has set what ray reads when it is imported

            ray.shutdown()


def run_sweep(record: Record, data: Dataset, slots: int, options: Runtime) -> bool:
    """Run (or go on with) a sweep until every planned trial has ended. False: interrupted, to be resumed.

    Raises:
        UserError: the record or a checkpoint cannot be written; no trial was trained to its end.
    """
    from sweeps.reporting.tracking import Tracking

    plan, console = record.plan, wide_console()
    folder = (options.folder / plan.name).absolute()
    search = Search(record)
    outcome = search.outcome
    slots = min(slots, max_useful_slots(search))
    console.print(headline(plan, search, slots, data), highlight=False, soft_wrap=True)
    for trial in search.unfinished:
        if trial.epoch and not checkpoint_path(folder / "checkpoints", trial.number).exists():
            again = f"its {trial.epoch} epochs are trained again"
            console.print(f"The checkpoint of trial {trial.number} is gone: {again}.")
    tracking = Tracking(record, outcome, data.class_names, options.tracking_uri, folder / "best.yaml")
    tracking.sync()
    view = ProgressDisplay(search, data.class_names, console)
    keeper = CheckpointKeeper(folder / "checkpoints", outcome)
    try:
        with contextlib.closing(Background(tracking)) as background, view, stop_on_interrupt(search, console):
            tune_until_done(search, group_settings(plan, folder), slots, (view, background, keeper))
        hand_over(outcome, data.class_names, folder)
    finally:
        if not search.finished:
            tracking.sweep_ended("KILLED")
    if not search.finished:
        console.print(f"Interrupted. Go on with: python sweeps/run.py --resume {plan.name}", soft_wrap=True)
        return False
    tracking.sweep_ended("FINISHED")
    record.finish()
    shutil.rmtree(folder / "ray", ignore_errors=True)
    report(search, data, options)
    return True


def hand_over(outcome: Outcome, class_names: Sequence[str], folder: Path) -> None:
    """Write the best configuration and the front as they are now, if there is any.

    Raises:
        UserError: they cannot be written.
    """
    from sweeps.reporting.front import save_front

    choice = outcome.choose()
    if choice is None:
        return
    write_yaml(folder / "best.yaml", exported(outcome, choice, class_names))
    try:
        save_front(outcome, class_names, folder)
    except OSError as error:
        raise UserError(f"{folder}: the front cannot be written: {error.strerror or error}") from None


def report(search: Search, data: Dataset, options: Runtime) -> None:
    """What a sweep that has ended found.

    Raises:
        UserError: nothing, as no trial was trained to its end.
    """
    record, console = search.record, wide_console()
    if search.outcome.choose() is None:
        reason = next((trial.short_reason for trial in record.trials() if trial.reason), record.search_stopped)
        raise UserError(f"sweep '{record.plan.name}': no trial was trained to its end: {reason}")
    summary(search, data.class_names, console)
    farewell((options.folder / record.plan.name).absolute(), data, options, console)


def tune_until_done(
    search: Search, group: GroupSettings, slots: int, listeners: Sequence[Listener], trainable: Any = None
) -> None:
    """Let Ray Tune run the search's trials, `slots` at a time, each slot keeping its workers.

    `trainable`: what runs them, if not a `Slot`.

    Raises:
        UserError: the record or a checkpoint cannot be written.
    """
    from ray import tune

    from sweeps.execution.halving import HalvingScheduler
    from sweeps.execution.slot import Slot
    from sweeps.execution.tune import StudySearcher

    # CPUs belong to the workers; Tune insists on some resource, so a slot asks for one byte of memory.
    resources = tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])
    searcher = StudySearcher(search, group, listeners)
    Path(group.storage).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tune-", dir=group.storage) as scratch, quiet():
        tuner = tune.Tuner(
            tune.with_resources(trainable or Slot, resources),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=HalvingScheduler(searcher),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(name=search.plan.name, storage_path=scratch, verbose=0),
        )
        tuner.fit()
    if searcher.failure is not None:
        raise searcher.failure


def group_settings(plan: Plan, folder: Path) -> GroupSettings:
    return GroupSettings(
        dataset=plan.dataset,
        checkpoints=str(folder / "checkpoints"),
        storage=str(folder / "ray"),
        workers=plan.workers,
        cpus_per_worker=plan.cpus_per_worker,
        gpus_per_worker=plan.gpus_per_worker,
    )


def max_useful_slots(search: Search) -> int:
    """No more slots than trials that can run side by side: baselines and search together."""
    return max(1, len(search.space.baselines) + search.plan.trials)


def headline(plan: Plan, search: Search, slots: int, data: Dataset) -> str:
    baselines = len(search.space.baselines)
    return (
        f"Sweep '{plan.name}': {baselines} baselines, then {plan.trials} configurations by {plan.sampler}, on "
        f"{data.name} ({len(data.train)} images, {data.num_classes} classes), {slots} trials at a time"
        + (f"; going on after {search.record.epochs} epochs" if search.record.epochs else "")
    )


def farewell(folder: Path, data: Dataset, options: Runtime, console: Console) -> None:
    best = os.path.relpath(folder / "best.yaml")
    dataset = "" if data.path == built_in_path() else f" --dataset {os.path.relpath(data.path)}"
    console.print(f"\nBest configuration  {best}", highlight=False, soft_wrap=True)
    console.print(
        f"Train it            python sweeps/train.py {best}{dataset} --epochs 40", highlight=False, soft_wrap=True
    )
    server = options.tracking_uri.startswith("http")
    view = options.tracking_uri if server else f"mlflow ui --backend-store-uri {options.tracking_uri}"
    console.print(f"See the sweep       {view}", highlight=False, soft_wrap=True)


class CheckpointKeeper:
    """A Listener that deletes checkpoints of ended trials, but for those on the front: they may be large."""

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        self.folder, self.outcome = folder, outcome
        self.kept = {trial.number for trial in outcome.record.trials() if trial.state.is_finished()}

    def on_trial_start(self, number: int) -> None:
        pass

    def on_epoch(self, number: int) -> None:
        pass

    def on_trial_end(self, number: int) -> None:
        front = {trial.number for trial in self.outcome.front()}
        for left in (self.kept | {number}) - front:
            checkpoint_path(self.folder, left).unlink(missing_ok=True)
        self.kept = front


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Tune's own progress lines off the terminal; its errors stay, but for those about a state nobody reads."""
    import logging

    levels = {"ray.tune": logging.ERROR, "ray.tune.execution.experiment_state": logging.CRITICAL}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
