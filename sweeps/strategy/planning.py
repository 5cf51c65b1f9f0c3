"""From options to a sweep's plan: fill in defaults, choose a name, recognise an earlier sweep, extend it."""

import importlib.metadata
import itertools
import math
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search_spaces.loading import load_space
from search_spaces.space import Space, parse_space
from sweeps.storage.folder import SweepFolder
from sweeps.storage.plan import Method, Plan
from sweeps.storage.record import NotBegun, Record
from sweeps.strategy.budget import Budget, check_max_epochs
from sweeps.strategy.floors import check_allowance, check_classes, check_reference, parse_floors
from sweeps.strategy.options import ResumeOptions, Runtime, SweepOptions
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.proposals import enqueued
from sweeps.strategy.rungs import default_rungs
from sweeps.strategy.starting import start_digest, start_overrides, with_as_it_is
from sweeps.strategy.warm_start import warm_start
from tce_core.data.builtin import is_built_in
from tce_core.data.dataset import Dataset
from tce_core.errors import UserError

PACKAGES = (
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "ray",
    "optuna",
    "mlflow",
    "numpy",
    "pyarrow",
)
"""Packages whose versions the plan records."""
GPU_DEVICES = ("nvidia*", "nvhost*", "nvgpu*", "kfd", "dxg")
"""Files in /dev on Linux, of which a GPU has one: NVIDIA's drivers, AMD's, and Windows' for Linux inside it."""


def plan_of(options: SweepOptions, data: Dataset) -> Plan:
    """Everything that a sweep will do, with the space's defaults filled in.

    Raises:
        UserError: a space, an override, an objective, a floor, rungs or a limit that cannot be used.
    """
    given = {"epochs": options.epochs, "trunk": options.trunk}
    extent = [f"trial.{key}={value}" for key, value in given.items() if value is not None]
    space_name = str(options.space or ("streets" if is_built_in(options.dataset) else "tce"))
    space = load_space(space_name, [*start_overrides(options.start), *options.overrides, *extent])
    if any("fold" in settings for settings in (space.trial, space.space, *space.baselines.values())):
        raise UserError(f"{space_name}: fold: a sweep has the splits of its data set; use `compare --folds K`")
    if (config := space.config({})).trunk and not config.trunk_epochs:
        least = math.ceil(50 / config.epochs) / 100
        raise UserError(f"trunk {config.trunk:g}: that is no epoch of {config.epochs}; give at least {least:g}, or 0")
    if options.start is not None:
        space = with_as_it_is(space)
    sampler = options.sampler or space.search.sampler
    trials = options.trials or space.search.trials
    gpus = _gpus(options.gpus_per_worker)
    first = tuple(warm_start(str(options.warm_start), options.storage, space)) if options.warm_start else ()
    plan = Plan(
        name=options.name or "",
        objective=options.objective,
        allowance=options.miou_allowance,
        sampler=sampler,
        seed=options.seed,
        trials=min(trials, len(enqueued(space, sampler, first))) if sampler == "grid" else trials,
        confirm=space.search.confirm if options.confirm is None else options.confirm,
        dataset=str(data.path.absolute()),
        fingerprint=data.fingerprint,
        space=space.model_dump(mode="json", exclude_defaults=True),
        space_file=space_name,
        start_sha256=start_digest(space.trial),
        workers=options.workers_per_trial,
        cpus_per_worker=options.cpus_per_worker or (None if gpus else 1),
        gpus_per_worker=gpus,
        rungs=_rungs(options, space),
        keep=options.keep or space.search.keep,
        patience=options.patience,
        max_epochs=options.max_epochs,
        max_hours=options.max_hours,
        warm_start=first,
        classes=data.class_names,
        floors=parse_floors(options.floors, data.class_names),
        runs=str(options.runs.resolve()),
        versions={"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
    )
    check_classes(plan.objectives, data.val.pixel_counts.sum(axis=0))
    check_allowance(plan.objectives, options.model_fields_set)
    check_reference(plan)
    check_max_epochs(plan, space)
    return plan


def extended_plan(record: Record, options: ResumeOptions) -> Plan:
    """The plan of a recorded sweep with the limits that the options change.

    Raises:
        UserError: fewer trials than before, a limit without room for the sweep's runs, or a comparison.
    """
    plan, space = record.plan, parse_space(record.plan.space, record.plan.space_file)
    changes = options.changes
    if plan.methods and changes:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changes)
        raise UserError(f"{flags}: '{plan.name}' is a comparison, which searches nothing; resume it without this")
    trials = changes.get("trials", plan.trials)
    if trials < plan.trials:
        raise UserError(f"--trials {trials}: sweep '{plan.name}' has {plan.trials} already; give more")
    if plan.sampler == "grid":
        changes["trials"] = min(trials, len(enqueued(space, plan.sampler, plan.warm_start)))
    if "floors" in changes:
        changes["floors"] = parse_floors(changes["floors"], plan.classes)
    extended = plan.extended(**changes)
    check_reference(extended)
    check_max_epochs(extended, space)
    if options.retry_failed:
        needed = sum(trial.budget for trial in record.failures())
        limit = Budget(record, Outcome(record, plan.objectives), extended).limit(needed - 1) if needed else None
        if limit is not None:
            flag = f"--max-{limit.unit}"
            raise UserError(
                f"--retry-failed: the failed trials need {needed} epochs, and the limit of {limit} leaves no room; "
                f"give a higher {flag}, too"
            )
    return extended


def extend(record: Record, options: ResumeOptions) -> None:
    """Change the limits of a recorded sweep and begin its failed trials again, as the options say.

    Raises:
        UserError: as `extended_plan`.
    """
    if not is_extended(record, options):
        return
    failures = record.failures() if options.retry_failed else []
    trunks_kept = not record.finished  # the end of a sweep deletes their checkpoints
    record.reopen(extended_plan(record, options))
    for trial in failures:
        record.retry(trial, trunks_kept=trunks_kept)


def is_extended(record: Record, options: ResumeOptions) -> bool:
    """Whether the options change a limit, or there is a failed trial to retry."""
    retries = options.retry_failed and bool(record.failures())
    return retries or extended_plan(record, options) != record.plan


def _rungs(options: SweepOptions, space: Space) -> tuple[int, ...]:
    config = space.config({})
    epochs = config.epochs - config.trunk_epochs
    chosen: Sequence[int] | None = options.rungs if options.rungs is not None else space.search.rungs
    if chosen is None:
        return default_rungs(epochs)
    if list(chosen) != sorted(set(chosen)) or any(not 0 < rung < epochs for rung in chosen):
        usual = " ".join(map(str, default_rungs(epochs)))
        behind = " after its trunk" if config.trunk_epochs else ""
        raise UserError(
            f"rungs {' '.join(map(str, chosen))}: give rising numbers of epochs below a trial's {epochs}{behind}, "
            + (f"such as {usual}" if usual else "or --no-halving")
        )
    return tuple(chosen)


def _gpus(wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    if sys.platform == "linux" and not any(any(Path("/dev").glob(device)) for device in GPU_DEVICES):
        return 0.0
    import torch  # it takes seconds

    return 1.0 if torch.cuda.is_available() else 0.0


def resolve_name(plan: Plan, runtime: Runtime, stem: str) -> tuple[str, Record | None]:
    """The name of the sweep, and its record if it was begun before: the same command again continues it.

    Without a name of its own, a sweep of the same plan that has not ended is meant, or else a new one: STEM-1,
    STEM-2, …

    Raises:
        UserError: a sweep of this name was begun with other settings.
    """
    taken = Record.names(runtime.storage)
    if plan.name:
        if plan.name not in taken:
            return plan.name, None
        record = _record_of(runtime.storage, plan.name)
        if record is not None and (other := differing(plan, record.begun_plan)):
            raise UserError(
                f"sweep '{plan.name}' in {runtime.storage} was begun with other settings: {other}; "
                f"continue it with `run --resume {plan.name}`, or choose another --name"
            )
        return plan.name, record
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_")[:58] or "sweep"  # leaves room for the number
    for name in reversed([name for name in taken if re.fullmatch(re.escape(stem) + r"-[1-9]\d*", name)]):
        try:
            record = _record_of(runtime.storage, name)
        except UserError:  # a study of another program, or damaged
            continue
        if record is None:
            return name, None
        if not differing(plan, record.begun_plan):
            if not record.finished:
                return name, record
            break
    numbered = (f"{stem}-{i}" for i in itertools.count(1))
    free = (n for n in numbered if n not in taken and not SweepFolder(n, runtime.runs).has_checkpoints)
    return next(free), None


def _record_of(storage: str, name: str) -> Record | None:
    """The record of a name that is taken; None if its sweep was killed while it began, so that it begins again."""
    try:
        return Record.load(storage, name)
    except NotBegun:
        return None


def differing(asked: Plan, begun: Plan) -> str:
    """The settings in which two plans differ, in words; name, folder and package versions do not count."""
    one, other = vars(asked), vars(begun)
    keys = [key for key in one if key not in ("name", "runs", "versions") and one[key] != other[key]]
    texts = {key: (_short(other[key]), _short(one[key])) for key in keys}
    return ", ".join(f"another {key}" if a == b else f"{key} {a}, not {b}" for key, (a, b) in texts.items())


def check_name(name: str, flag: str) -> None:
    """Refuse a name that is not a plain file name.

    Raises:
        UserError: naming the flag.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"{flag} {name}: use up to 64 letters, digits, '.', '_' and '-', the first a letter or digit")


def latest(storage: str) -> str:
    """The name of the sweep that was begun last.

    Raises:
        UserError: the storage holds no sweep.
    """
    names = Record.names(storage)
    if not names:
        raise UserError(f"{storage} holds no sweep yet")
    return names[-1]


def _short(value: Any) -> str:
    methods = isinstance(value, tuple) and all(isinstance(one, Method) for one in value)
    text = ", ".join(one.name for one in value) if value and methods else str(value)
    return text if len(text) <= 40 else text[:37] + "…"
