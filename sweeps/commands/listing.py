"""Show the sweeps of a storage: `tilted-sweeps list`."""

from collections.abc import Sequence
from datetime import datetime

from rich.markup import escape
from rich.table import Table

from sweeps.cli import DONE, Parser, add_storage
from sweeps.reporting.terminal import wide_console
from sweeps.storage.folder import SweepFolder, folder_of
from sweeps.storage.lock import lock_holder
from sweeps.storage.record import Record
from sweeps.strategy.options import Runtime
from sweeps.strategy.outcome import Outcome
from tce_core.errors import UserError

COLUMNS = ("sweep", "state", "trials", "epochs", "best", "mIoU", "worst IoU", "last activity")


def main(arguments: Sequence[str] | None = None, prog: str = "tilted-sweeps list") -> int:
    parser = Parser(prog=prog, description="Show the sweeps of a storage, oldest first.")
    add_storage(parser)
    runtime = Runtime(**vars(parser.parse_args(arguments)))
    rows = list_sweeps(runtime)
    if not rows:
        print(f"{runtime.storage} holds no sweep yet.")
        return DONE
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(escape, row))
    wide_console().print(table)
    return DONE


def list_sweeps(runtime: Runtime) -> list[tuple[str, ...]]:
    """One row of texts per sweep, as in `COLUMNS`. A study that is not a readable sweep says so in its state.

    Raises:
        UserError: the storage cannot be used.
    """
    rows = []
    for name in Record.names(runtime.storage):
        try:
            record = Record.load(runtime.storage, name)
        except UserError:
            rows.append((name, "unreadable", *["-"] * (len(COLUMNS) - 2)))
            continue
        rows.append(_row(record, folder_of(record.plan, runtime.runs)))
    return rows


def _row(record: Record, folder: SweepFolder) -> tuple[str, ...]:
    trials, choice = record.trials(), Outcome(record, record.plan.objectives).choose()
    ended = sum(trial.state.is_finished() for trial in trials)
    best = ("-", "-", "-")
    if choice is not None:
        report = choice.scores.report
        best = (choice.point.label, f"{report.miou:.3f}", f"{report.worst_iou:.3f}")
    return (
        record.plan.name,
        _state(record, folder),
        f"{ended} of {_planned(record)}",
        str(record.epochs),
        *best,
        _last(record),
    )


def _state(record: Record, folder: SweepFolder) -> str:
    if lock_holder(folder.path) is not None:
        return "running"
    if record.finished:
        return "stopped early" if record.search_stopped else "finished"
    return "interrupted"


def _planned(record: Record) -> int:
    """Trials that the sweep will have at its end, as far as is known."""
    plan = record.plan
    if record.finished:
        return len(record.trials())
    searched = record.proposals if record.search_stopped else plan.trials
    return len(plan.space.get("baselines") or {}) + searched + plan.confirmation_runs


def _last(record: Record) -> str:
    """When the last trial began or ended."""
    moments = [m for t in record.study.get_trials(deepcopy=False) for m in (t.datetime_start, t.datetime_complete)]
    latest = max((moment for moment in moments if moment is not None), default=None)
    return "-" if latest is None else datetime.strftime(latest, "%Y-%m-%d %H:%M")
