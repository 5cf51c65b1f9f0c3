"""From a command line to a sweep's plan: defaults filled in, names chosen, an earlier sweep recognised."""

import argparse
import importlib.metadata
import itertools
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search_spaces.loading import load_space
from search_spaces.space import Space
from sweeps.storage.plan import Plan
from sweeps.storage.record import NotBegun, Record
from sweeps.strategy.proposals import enqueued
from sweeps.strategy.rungs import default_rungs
from sweeps.strategy.warm_start import warm_start
from tce_core.data.builtin import BUILT_IN
from tce_core.data.dataset import Dataset
from tce_core.errors import UserError

RUNS = Path("runs")
"""Where sweeps keep what is not in their record: checkpoints, exports and plots."""
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


def plan_of(options: argparse.Namespace, data: Dataset) -> Plan:
    """Everything a sweep will do, with the space's defaults filled in.

    Raises:
        UserError: a space, an override or a budget that is not valid.
    """
    builtin = options.dataset == BUILT_IN
    overrides = [*options.set, *([f"trial.epochs={options.epochs}"] if options.epochs else [])]
    space_name = options.space or ("streets" if builtin else "tce")
    space = load_space(space_name, overrides)
    sampler = options.sampler or space.search.sampler
    trials = options.trials or space.search.trials
    first = tuple(warm_start(options.warm_start, options.storage, space)) if options.warm_start else ()
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
        workers=options.workers_per_trial,
        cpus_per_worker=options.cpus_per_worker,
        gpus_per_worker=gpus(options.gpus_per_worker),
        rungs=rungs(options, space),
        keep=options.keep or space.search.keep,
        patience=options.patience,
        max_epochs=options.max_epochs,
        max_hours=options.max_hours,
        warm_start=first,
        runs=str(RUNS.resolve()),
        versions={"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
    )
    check_budget(plan, space)
    return plan


def rungs(options: argparse.Namespace, space: Space) -> tuple[int, ...]:
    epochs = space.config({}).epochs
    if options.no_halving:
        return ()
    chosen = options.rungs or space.search.rungs
    if chosen is None:
        return default_rungs(epochs)
    if list(chosen) != sorted(set(chosen)) or any(not 0 < rung < epochs for rung in chosen):
        usual = " ".join(map(str, default_rungs(epochs)))
        raise UserError(
            f"rungs {' '.join(map(str, chosen))}: give rising numbers of epochs below a trial's {epochs}, "
            + (f"such as {usual}" if usual else "or --no-halving")
        )
    return tuple(chosen)


def check_budget(plan: Plan, space: Space) -> None:
    """The baselines and the confirming runs, at least, must fit into `--max-epochs`."""
    epochs = space.config({}).epochs
    baselines, confirming = len(space.baselines), plan.confirming
    least = (baselines + confirming + 1) * epochs
    if plan.max_epochs is not None and plan.max_epochs < least:
        raise UserError(
            f"--max-epochs {plan.max_epochs}: {baselines} baselines, {confirming} confirming runs and one searched "
            f"configuration of {epochs} epochs need {least}; allow more, or lower --epochs or --confirm"
        )


def resolve_name(plan: Plan, storage: str, stem: str) -> tuple[str, Record | None]:
    """The name of the sweep, and its record if it was begun before: the same command again goes on with it.

    Without a name of its own, a sweep of the same plan that has not ended is meant, else a new one: STEM-1, STEM-2, …

    Raises:
        UserError: a sweep of this name was begun with other settings.
    """
    taken = Record.names(storage)
    if plan.name:
        if plan.name not in taken:
            return plan.name, None
        record = record_of(storage, plan.name)
        if record is not None and (other := differing(plan, record.plan)):
            raise UserError(
                f"sweep '{plan.name}' in {storage} was begun with other settings: {other}; "
                f"go on with --resume {plan.name}, or choose another --name"
            )
        return plan.name, record
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_")[:58] or "sweep"  # short enough for a number
    for name in reversed([name for name in taken if re.fullmatch(re.escape(stem) + r"-[1-9]\d*", name)]):
        try:
            record = record_of(storage, name)
        except UserError:  # somebody else's, or damaged
            continue
        if record is None:
            return name, None
        if not differing(plan, record.plan):
            if not record.finished:
                return name, record
            break
    own = (f"{stem}-{i}" for i in itertools.count(1))
    return next(name for name in own if name not in taken and not left_behind(name)), None


def left_behind(name: str) -> bool:
    """Whether there are checkpoints under a name: of a sweep in some other storage, perhaps."""
    return any((RUNS / name / "checkpoints").glob("*.pt"))


def check_folder(plan: Plan) -> None:
    """A sweep goes on where its checkpoints are, or where they were moved.

    Raises:
        UserError: this is some other place, where all that it has trained would be trained again.
    """
    kept = Path(plan.runs, plan.name)
    if plan.runs and kept.is_dir() and not (RUNS / plan.name).exists():
        raise UserError(f"sweep '{plan.name}' is kept in {kept}; go on with it from {kept.parents[1]}")


def record_of(storage: str, name: str) -> Record | None:
    """The record of a name that is taken; None if its sweep was killed as it began, to be begun again."""
    try:
        return Record.load(storage, name)
    except NotBegun:
        return None


def differing(asked: Plan, begun: Plan) -> str:
    """What of a plan is not as it was, in words; the name, the folder and the versions of packages aside."""
    one, other = asdict(asked), asdict(begun)
    keys = [key for key in one if key not in ("name", "runs", "versions") and one[key] != other[key]]
    return ", ".join(f"{key} {_short(other[key])}, not {_short(one[key])}" for key in keys)


def check_name(name: str, flag: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"{flag} {name}: use up to 64 letters, digits, '.', '_' and '-', the first a letter or digit")


def latest(storage: str) -> str:
    names = Record.names(storage)
    if not names:
        raise UserError(f"--resume: {storage} holds no sweep yet")
    return names[-1]


def gpus(wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    import torch

    return 1.0 if torch.cuda.is_available() else 0.0


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"
