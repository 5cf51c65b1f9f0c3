"""A sweep from Python: `run_sweep(SweepOptions(dataset="data/mine"))`. The command line only parses into this.

from sweeps.sweep import SweepOptions, run_sweep

result = run_sweep(SweepOptions(trials=2, epochs=3))
print(result.recommended.label, result.recommended.scores.report.worst_iou)
"""

import contextlib
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from sweeps.execution.checkpoints import CheckpointKeeper, checkpoint_path, is_whole
from sweeps.execution.interrupt import stop_on_interrupt
from sweeps.execution.listener import Background
from sweeps.execution.preflight import dry_run, preflight
from sweeps.execution.ray_cluster import Room, ray_for
from sweeps.execution.worker_group import GroupSettings, WorkerGroups
from sweeps.report.write import write_report
from sweeps.reporting.ending import show_interruption, show_result, write_result
from sweeps.reporting.terminal import ProgressDisplay, headline, resume_command, wide_console
from sweeps.result import SweepResult
from sweeps.storage.folder import SweepFolder, folder_of
from sweeps.storage.lock import sweep_lock
from sweeps.storage.plan import Plan
from sweeps.storage.record import Record
from sweeps.strategy.comparing import comparison_plan
from sweeps.strategy.floors import check_classes
from sweeps.strategy.options import CompareOptions, ResumeOptions, Runtime, SweepOptions
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.planning import check_name, extend, extended_plan, is_extended, latest, plan_of, resolve_name
from sweeps.strategy.search import Search
from sweeps.strategy.starting import check_start
from tce_core.data.builtin import resolve_dataset
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.errors import UserError

if TYPE_CHECKING:
    from sweeps.reporting.tracking import Tracking

__all__ = [
    "CompareOptions",
    "ResumeOptions",
    "SweepOptions",
    "SweepResult",
    "compare_methods",
    "dry_run_sweep",
    "resume_sweep",
    "run_sweep",
]
AnyOptions = SweepOptions | CompareOptions | ResumeOptions

log = logging.getLogger(__name__)


def run_sweep(options: SweepOptions) -> SweepResult:
    """Run a sweep to its end. The same options again continue a sweep that was interrupted.

    Progress and the result are printed. Ctrl-C stops the sweep after the running epochs.

    Raises:
        UserError: options, data or files that cannot be used; no trial reached its end.
        TemporaryError: a full disk, a store that is gone, lost workers. The same call later continues the sweep.
    """
    return _run_locked(options)


def resume_sweep(options: ResumeOptions) -> SweepResult:
    """Continue a recorded sweep, after an interruption or, with changed limits, after its end.

    Raises:
        UserError, TemporaryError: as `run_sweep`; there is no such sweep, its data set changed, or a limit is too low.
    """
    return _run_locked(options)


def compare_methods(options: CompareOptions) -> SweepResult:
    """Train each method with every seed, evaluate the test split, and write the tables of `comparison.md`.

    The same options again continue a comparison that was interrupted. The result recommends nothing.

    Raises:
        UserError, TemporaryError: as `run_sweep`; no method was trained to its end.
    """
    return _run_locked(options)


def dry_run_sweep(options: AnyOptions) -> dict[str, str]:
    """Train one step, and describe what the sweep would do, in lines of text by heading. Nothing is recorded.

    Raises:
        UserError: as `run_sweep`.
    """
    plan, data, _, _ = _prepare(options)
    with ThreadPoolExecutor(1) as pool:  # importing torch and starting Ray take many seconds each
        checked = pool.submit(preflight, plan, data)
        with ray_for(plan, options.address, options.concurrent) as room:
            checked.result()
            return dry_run(plan, data, room.slots, room.cpus_per_worker)


def _prepare(options: AnyOptions) -> tuple[Plan, Dataset, SweepFolder, bool]:
    """The plan of the sweep, its data set, its folder, and whether it was begun before."""
    if options.name is not None:
        check_name(options.name, "--resume" if isinstance(options, ResumeOptions) else "--name")
    if not isinstance(options, ResumeOptions):
        data = resolve_dataset(options.dataset)
        plan = plan_of(options, data) if isinstance(options, SweepOptions) else comparison_plan(options, data)
        stem = f"{data.name}-compared" if plan.methods else data.name
        name, record = resolve_name(plan, options, stem)
        plan = replace(plan, name=name) if record is None else record.plan
    else:
        record = Record.load(options.storage, options.name or latest(options.storage))
        check_start(record.plan)
        plan, data = extended_plan(record, options), _unchanged_data(record.plan)
        check_classes(plan.objectives, data.val.pixel_counts.sum(axis=0))
    folder = SweepFolder(plan.name, options.runs) if record is None else folder_of(plan, options.runs)
    return plan, data, folder, record is not None


def _unchanged_data(plan: Plan) -> Dataset:
    """The data set of a recorded sweep.

    Raises:
        UserError: it is gone, or has changed.
    """
    data = open_dataset(plan.dataset)
    if data.fingerprint != plan.fingerprint:
        raise UserError(f"{data.path}: the data set has changed since sweep '{plan.name}' began; start a new sweep")
    return data


def _run_locked(options: AnyOptions) -> SweepResult:
    plan, data, folder, begun = _prepare(options)
    resume = options if isinstance(options, ResumeOptions) else None
    with sweep_lock(plan.name, folder.path):
        record = Record.load(options.storage, plan.name) if begun else None  # read again: nobody else writes it now
        if record is None and folder.has_checkpoints:
            raise UserError(
                f"{folder.path} holds checkpoints of a sweep that is not in {options.storage}; "
                "choose another --name, or remove that folder"
            )
        extends = record is not None and resume is not None and is_extended(record, resume)
        if record is not None and record.finished and not extends:
            if plan.methods or not (folder.best.exists() and folder.report.exists()):  # killed before it was written
                _write(Outcome(record, record.plan.objectives), data, folder)
            return _report(_tracking(record, data, folder, options), data, folder)
        with ray_for(plan, options.address, options.concurrent) as room:
            groups = WorkerGroups(_group_settings(plan, room, folder))
            try:
                groups.begin(min(room.slots, plan.most_at_once))
                if not (console := wide_console()).is_terminal:
                    console.print("Starting the workers, which takes up to half a minute.")
                with console.status("Starting the workers"):
                    groups.check(asdict(plan), meanwhile=lambda: import_module("sweeps.execution.tune"))
                if record is None:
                    record = Record.create(options.storage, plan)
                elif resume is not None and extends:
                    extend(record, resume)  # only now: an extension that cannot run changes nothing
                return _run(record, data, groups, folder, options)
            finally:
                groups.leave()


def _run(record: Record, data: Dataset, groups: WorkerGroups, folder: SweepFolder, runtime: Runtime) -> SweepResult:
    """Run the trials of a record until every planned trial has ended, or until an interruption."""
    from sweeps.execution.tune import tune_until_done  # it imports ray, so only after `start_ray`

    console = wide_console()
    search = Search.resume(record)
    console.print(headline(search, data, groups.number), highlight=False, soft_wrap=True)
    for trial in search.unfinished:
        if trial.results and not checkpoint_path(folder.checkpoints, trial.number).exists():
            lost = f"The checkpoint of trial {trial.number} is gone"
            console.print(f"{lost}: its {trial.trained} epochs are trained again.")
    for trunk in record.trials("trunk"):
        if trunk.complete and not is_whole(checkpoint_path(folder.checkpoints, trunk.number)):
            search.trunks.lost.add(trunk.number)
            lost = f"The checkpoint of trial {trunk.number} is gone or damaged"
            console.print(f"{lost}: its {trunk.trained} epochs are trained again, if a trial still needs this trunk.")
    tracking = cache(lambda: _tracking(record, data, folder, runtime))
    display = ProgressDisplay(search, data.class_names, console)
    keeper = CheckpointKeeper(folder.checkpoints, search.outcome)
    try:
        background = Background("Tracking", tracking)
        with contextlib.closing(background), display, stop_on_interrupt(search, console):
            tune_until_done(search, groups, (display, background, keeper))
        if search.finished:
            record.finish()  # what is recommended depends on whether the race can go on
        _write(search.outcome, data, folder)
    except BaseException:
        tracking().sweep_ended("KILLED")
        raise
    tracking().sweep_ended("FINISHED" if search.finished else "KILLED")
    if not search.finished:
        show_interruption(folder, resume_command(search.plan.name, runtime.storage, runtime.tracking_uri))
        return SweepResult(False, search.outcome, data.class_names, folder, tracking().pages)
    keeper.sweep_ended()
    shutil.rmtree(folder.ray, ignore_errors=True)
    return _report(tracking(), data, folder)


def _write(outcome: Outcome, data: Dataset, folder: SweepFolder) -> None:
    """Write the result into the sweep's folder, and the report of a search that has ended."""
    write_result(outcome, data.class_names, folder)
    if outcome.record.finished and not outcome.record.plan.methods:
        folder.report.unlink(missing_ok=True)  # one of an earlier result must not stand beside this one
        try:
            write_report(outcome, data, folder)
        except Exception:  # what shows a result must not withhold it
            log.warning("The report could not be written", exc_info=True)


def _tracking(record: Record, data: Dataset, folder: SweepFolder, runtime: Runtime) -> "Tracking":
    """The sweep's view in MLflow, up to date."""
    from sweeps.reporting.tracking import Tracking  # it imports matplotlib and plotly, which takes seconds

    outcome = Outcome(record, record.plan.objectives)
    tracking = Tracking(outcome, data.class_names, runtime.tracking_uri, folder.best)
    tracking.sync()
    return tracking


def _group_settings(plan: Plan, room: Room, folder: SweepFolder) -> GroupSettings:
    return GroupSettings(
        dataset=plan.dataset,
        checkpoints=str(folder.checkpoints),
        storage=str(folder.ray),
        workers=plan.workers,
        cpus_per_worker=room.cpus_per_worker,
        gpus_per_worker=plan.gpus_per_worker,
        counts=str(folder.counts),
    )


def _report(tracking: "Tracking", data: Dataset, folder: SweepFolder) -> SweepResult:
    show_result(tracking, data.class_names, folder)
    return SweepResult(True, tracking.outcome, data.class_names, folder, tracking.pages)
