"""Run a sweep: `python sweeps/run.py --objective worst_iou`.

Trains the baselines, searches for configurations that trade little mIoU for fairness, trains the best one and the
reference baseline again with fresh seeds, and writes `runs/NAME/best.yaml`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

from search_spaces.space import Sampler
from sweeps.cli import INTERRUPTED, Parser, amount, fraction, hours, natural, positive, run_command, share
from sweeps.execution.preflight import dry_run
from sweeps.storage.lock import sweep_lock
from sweeps.storage.objectives import MEASURES
from sweeps.storage.record import Record
from sweeps.strategy.planning import RUNS, check_folder, check_name, latest, left_behind, plan_of, resolve_name
from sweeps.strategy.search import Search
from sweeps.sweep import Runtime, cluster, report, run_sweep
from tce_core.data.builtin import BUILT_IN, resolve_dataset
from tce_core.data.dataset import Dataset, open_dataset
from tce_core.errors import UserError

RESUME_FLAGS = ("resume", "name", "concurrent", "address", "storage", "tracking_uri", "dry_run")
"""What `--resume` takes from the command line; all else is in the record."""


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
    what.add_argument("--sampler", choices=get_args(Sampler), help="default: the space's, gp")
    what.add_argument(
        "--warm-start", metavar="NAME|FILE", help="what to try first: an earlier sweep's front, or a file"
    )
    what.add_argument("--trials", type=positive, help="configurations to search, beside the baselines")
    what.add_argument("--epochs", type=positive, help="epochs of each trial")
    what.add_argument("--confirm", type=natural, metavar="N", help="fresh seeds for the winner and the baseline")
    what.add_argument("--seed", type=natural, default=0, help="of the search and the trials (default: 0)")
    less = p.add_argument_group("how little is spent")
    halving = less.add_mutually_exclusive_group()
    halving.add_argument(
        "--rungs", nargs="+", type=positive, metavar="E", help="epochs after which only the better trials go on"
    )
    halving.add_argument("--no-halving", action="store_true", help="train every configuration to its end")
    less.add_argument("--keep", type=share, metavar="S", help="share that goes on at a rung (default: the space's)")
    less.add_argument(
        "--patience", type=positive, metavar="E", help="end the search when the front has not grown for E epochs"
    )
    less.add_argument("--max-epochs", type=positive, metavar="E", help="of the sweep, confirming runs included")
    less.add_argument("--max-hours", type=hours, metavar="H", help="at work, interruptions not counted")
    where = p.add_argument_group("where it runs")
    where.add_argument("--workers-per-trial", type=positive, default=1, metavar="N", help="data-parallel workers")
    where.add_argument("--gpus-per-worker", type=amount, metavar="G", help="default: 1 where there are GPUs, else 0")
    where.add_argument("--cpus-per-worker", type=positive, default=1, metavar="C", help="CPU threads (default: 1)")
    where.add_argument("--concurrent", type=positive, metavar="N", help="trials at a time (default: all that fit)")
    where.add_argument("--address", help="a Ray cluster to join (default: this machine alone)")
    record = p.add_argument_group("how it is kept")
    record.add_argument("--name", help="of the sweep (default: DATASET-1, DATASET-2, …)")
    record.add_argument(
        "--resume",
        nargs="?",
        const="",
        metavar="NAME",
        help="go on with a sweep, as its record says (default: the latest); so does the same command again",
    )
    record.add_argument("--storage", default="sqlite:///sweeps.db", help="Optuna storage (default: %(default)s)")
    record.add_argument("--tracking-uri", default="sqlite:///mlflow.db", help="MLflow store or server")
    p.add_argument("--dry-run", action="store_true", help="print the plan and train one step, then stop")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    check_flags(options)
    for flag, name in (("--name", options.name), ("--resume", options.resume or None)):
        if name is not None:
            check_name(name, flag)
    if options.resume is not None:
        record: Record | None = Record.load(options.storage, options.resume or options.name or latest(options.storage))
        assert record is not None
        plan, data = record.plan, unchanged_data(record)
    else:
        data = resolve_dataset(options.dataset)
        plan = plan_of(options, data)
        name, record = resolve_name(plan, options.storage, data.name)
        plan = replace(plan, name=name)
    if record is not None:
        check_folder(plan)
    where = Runtime(options.address, options.concurrent, options.tracking_uri, RUNS)
    if options.dry_run:
        with cluster(plan, data, where) as slots:
            dry_run(plan, data, slots)
        return 0
    with sweep_lock(plan.name, RUNS / plan.name):
        if record is not None:
            record = Record.load(options.storage, plan.name)  # as it is now that nobody else writes it
            if record.finished:
                report(Search(record), data, where)
                return 0
        elif left_behind(plan.name):
            raise UserError(
                f"{RUNS / plan.name} holds checkpoints of a sweep that is not in {options.storage}; "
                "choose another --name, or remove that folder"
            )
        with cluster(plan, data, where) as slots:
            if record is None:
                record = Record.create(options.storage, plan)
            return 0 if run_sweep(record, data, slots, where) else INTERRUPTED


def check_flags(options: argparse.Namespace) -> None:
    """Nothing is ignored silently.

    Raises:
        UserError: flags that contradict each other, or that a sweep which goes on as its record says does not heed.
    """
    if options.keep is not None and options.no_halving:
        raise UserError("--keep says who goes on at a rung, and with --no-halving there are none; give one of them")
    if options.resume is None:
        return
    usual = vars(parser().parse_args([]))
    given = [key for key, value in vars(options).items() if value != usual[key] and key not in RESUME_FLAGS]
    if options.resume and options.name:
        given.append("name")
    if given:
        flags = ", ".join("--" + key.replace("_", "-") for key in given)
        raise UserError(
            f"{flags}: a sweep that is resumed goes on as its record says; leave this out, or repeat the command that "
            "began it without --resume"
        )


def unchanged_data(record: Record) -> Dataset:
    """The data set that a sweep was begun with.

    Raises:
        UserError: it is gone, or has changed.
    """
    data = open_dataset(record.plan.dataset)
    if data.fingerprint != record.plan.fingerprint:
        raise UserError(
            f"{data.path}: the data set has changed since sweep '{record.plan.name}' began; start a new sweep"
        )
    return data


if __name__ == "__main__":
    sys.exit(run_command(main))
