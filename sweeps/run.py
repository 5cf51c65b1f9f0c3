"""Run a sweep: `python sweeps/run.py --objective worst_iou`.

Trains the baselines, searches for configurations that trade little mIoU for fairness, trains the best one and the
reference baseline again with fresh seeds, and writes `runs/NAME/best.yaml`.
"""

import argparse
import importlib.metadata
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from search_spaces.space import Sampler, load_space
from sweeps.command import INTERRUPTED, Parser, amount, fraction, natural, positive, run_command
from sweeps.datasets import BUILT_IN, resolve_dataset
from sweeps.objectives import MEASURES
from sweeps.record import Plan, Record, taken
from sweeps.sweep import Options, cluster, dry_run, run_sweep
from tce_core.data.dataset import Dataset, open_dataset
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


def parser() -> Parser:
    p = Parser(prog="python sweeps/run.py", description="Search for a training that neglects no class.")
    what = p.add_argument_group("what is searched")
    what.add_argument(
        "--objective",
        choices=list(MEASURES),
        default="worst_iou",
        help="the measure that leads; mIoU and a fairness measure are always both optimised (default: %(default)s)",
    )
    what.add_argument(
        "--miou-allowance",
        type=fraction,
        default=0.01,
        metavar="A",
        help="how far the guard (mIoU; worst-class IoU if mIoU leads) may fall below the baseline (default: 0.01)",
    )
    what.add_argument("--dataset", default=BUILT_IN, help="`streets` (built in) or a folder of Arrow files")
    what.add_argument("--space", help="search space: a YAML file or a name in search_spaces/ (default: streets or tce)")
    what.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override the space, e.g. trial.encoder=resnet50 space.t.high=3",
    )
    what.add_argument("--sampler", choices=get_args(Sampler), help="default: the space's, tpe")
    what.add_argument("--trials", type=positive, help="configurations to search, beside the baselines")
    what.add_argument("--epochs", type=positive, help="epochs of each trial")
    what.add_argument("--confirm", type=natural, metavar="N", help="fresh seeds for the winner and the baseline")
    what.add_argument("--seed", type=natural, default=0, help="of the search and the trials (default: 0)")
    where = p.add_argument_group("where it runs")
    where.add_argument("--workers-per-trial", type=positive, default=1, metavar="N", help="data-parallel workers")
    where.add_argument("--gpus-per-worker", type=amount, metavar="G", help="default: 1 where there are GPUs, else 0")
    where.add_argument("--cpus-per-worker", type=positive, default=1, metavar="C", help="CPU threads (default: 1)")
    where.add_argument("--concurrent", type=positive, metavar="N", help="trials at a time (default: all that fit)")
    where.add_argument("--address", help="a Ray cluster to join (default: this machine alone)")
    record = p.add_argument_group("how it is kept")
    record.add_argument("--name", help="of the sweep (default: DATASET-1, DATASET-2, …)")
    record.add_argument("--resume", action="store_true", help="go on with sweep --name (default: the latest)")
    record.add_argument("--storage", default="sqlite:///sweeps.db", help="Optuna storage (default: %(default)s)")
    record.add_argument("--tracking-uri", default="sqlite:///mlflow.db", help="MLflow store or server")
    p.add_argument("--dry-run", action="store_true", help="print the plan and train one step, then stop")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if options.name is not None:
        check_name(options.name)
    record = Record.load(options.storage, options.name or latest(options.storage)) if options.resume else None
    if record is None:
        data = resolve_dataset(options.dataset)
        plan = plan_of(options, data)
    else:
        data, plan = open_dataset(record.plan.dataset), record.plan
        if data.fingerprint != plan.fingerprint:
            raise UserError(f"{data.path}: the data set has changed since sweep '{plan.name}' began; start a new sweep")
    with cluster(plan, data, _options(options)) as slots:
        if options.dry_run:
            dry_run(plan, data, slots)
            return 0
        record = record or Record.create(options.storage, plan)
        return 0 if run_sweep(record, data, slots, _options(options)) else INTERRUPTED


def plan_of(options: argparse.Namespace, data: Dataset) -> Plan:
    """Everything a sweep will do, with the space's defaults filled in.

    Raises:
        UserError: a name that is taken, a space or an override that is not valid.
    """
    if options.name in Record.names(options.storage):
        raise taken(options.storage, options.name)
    builtin = options.dataset == BUILT_IN
    overrides = [*options.set, *([f"trial.epochs={options.epochs}"] if options.epochs else [])]
    space_name = options.space or ("streets" if builtin else "tce")
    space = load_space(space_name, overrides)
    sampler = options.sampler or space.search.sampler
    trials = options.trials or space.search.trials
    return Plan(
        name=options.name or free_name(options.storage, data.name),
        objective=options.objective,
        allowance=options.miou_allowance,
        sampler=sampler,
        seed=options.seed,
        trials=min(trials, len(space.grid())) if sampler == "grid" else trials,
        confirm=space.search.confirm if options.confirm is None else options.confirm,
        dataset=str(data.path.absolute()),
        fingerprint=data.fingerprint,
        space=space.model_dump(mode="json", exclude_defaults=True),
        space_file=space_name,
        workers=options.workers_per_trial,
        cpus_per_worker=options.cpus_per_worker,
        gpus_per_worker=gpus(options.gpus_per_worker),
        versions={"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}},
    )


def check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"--name {name}: use up to 64 letters, digits, '.', '_' and '-', the first a letter or digit")


def free_name(storage: str, stem: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_") or "sweep"
    taken = Record.names(storage)
    return next(name for i in range(1, len(taken) + 2) if (name := f"{stem}-{i}") not in taken)


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


def _options(options: argparse.Namespace) -> Options:
    return Options(
        address=options.address,
        concurrent=options.concurrent,
        tracking_uri=options.tracking_uri,
        folder=Path("runs"),
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
