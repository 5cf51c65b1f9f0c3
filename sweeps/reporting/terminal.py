"""The text output of a sweep in the terminal while it runs, and its last lines. Its result is in `summary.py`."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sweeps.reporting import heartbeat
from sweeps.reporting.mlflow_pages import ui_address
from sweeps.storage.folder import DEFAULT_STORAGE, DEFAULT_TRACKING_URI, SweepFolder
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.search import Search
from sweeps.strategy.starting import start_text
from tce_core.data.dataset import Dataset


class ProgressDisplay:
    """Live progress: one line per ended trial, and how far the sweep is.

    On a terminal, a bar counts its epochs. Elsewhere a line says so after every 30 seconds without another one.
    """

    def __init__(
        self, search: Search, class_names: Sequence[str], console: Console, quiet: float = heartbeat.QUIET
    ) -> None:
        self.search, self.record, self.class_names, self.console = search, search.record, class_names, console
        self.started = time.monotonic()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self.bar: TaskID = self.progress.add_task("starting workers", total=search.epochs_expected, left="")
        self.resumed_at = self.record.epochs
        self.running: set[int] = set()
        self.status = "no epoch has ended yet"
        """How far the sweep is, in words. The heartbeat, in its own thread, reads nothing else."""
        self.heartbeat = heartbeat.Heartbeat(lambda: self._print(self.status), quiet)

    def __enter__(self) -> "ProgressDisplay":
        self.progress.start()
        if self.progress.disable:
            self.heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.heartbeat.stop()
        self.progress.stop()

    def on_trial_start(self, number: int) -> None:
        self.running.add(number)

    def on_epoch(self, number: int) -> None:
        done, expected = self.record.epochs, self.search.epochs_expected
        pace = (time.monotonic() - self.started) / max(1, done - self.resumed_at)
        left = pace * max(0, expected - done)
        if self.record.plan.max_hours is not None:
            left = min(left, max(0.0, 3600 * self.record.plan.max_hours - self.search.budget.seconds))
        trials, time_left = ", ".join(str(n) for n in sorted(self.running)), f"about {_clock(left)} left"
        self.progress.update(self.bar, completed=done, total=expected, description=f"trial {trials}", left=time_left)
        self.status = f"{done} of about {expected} epochs, trial {trials} running, {time_left}"

    def on_trial_end(self, number: int) -> None:
        self.running.discard(number)
        trial = self.record[number]
        head = f"{number:>3}  {trial.role:<8}  {escape(trial.label):<46}"
        if trial.state == TrialState.FAIL:
            text = f"{head}  [red]failed[/]: {escape(trial.short_reason)}"
        else:
            report = trial.last.report
            worst = f"{report.worst_iou:.3f} ({escape(self.class_names[report.worst_class])})"
            note = f"  [dim]stopped after epoch {trial.epoch}[/]" if trial.stopped else ""
            text = f"{head}  mIoU {report.miou:.3f}  worst {worst}{self._adjusted(trial)}{note}"
        self._print(text)
        self.heartbeat.heard()

    def _print(self, text: str) -> None:
        elapsed = _clock(time.monotonic() - self.started)
        self.progress.console.print(f"[dim]{elapsed:>7}[/]  {text}", highlight=False, soft_wrap=True)

    def _adjusted(self, trial: TrialRecord) -> str:
        """The figures with the adjustment that suits the trial best, if one does."""
        best = self.search.outcome.best_point(trial)
        report = best.scores.report
        return (
            f"  [dim]\N{GREEK SMALL LETTER TAU}={best.tau:g}:[/] {report.miou:.3f} {report.worst_iou:.3f}"
            if best.tau
            else ""
        )


def headline(search: Search, data: Dataset, slots: int) -> str:
    """Return the sentence that a sweep begins with."""
    plan, spent = search.plan, search.record.epochs
    start = start_text(search.space, data.class_names)
    start = f"from {start}, " if start else ""
    trunk = f"a trunk of {search.trunks.epochs} epochs, " if search.trunks.epochs else ""
    planned = f"{len(search.space.baselines)} baselines, then {plan.trials} configurations by {plan.sampler}, "
    if plan.methods:
        folds = len(plan.methods[0].baselines)
        each = f"{plan.confirm + 1} seeds" + (f" in {folds} folds" if folds > 1 else "")
        planned = f"{len(plan.methods)} methods with {each} each, "
    return (
        f"{'Comparison' if plan.methods else 'Sweep'} '{plan.name}': {start}{trunk}{planned}"
        f"on {data.name} ({len(data.train)} images, {data.num_classes} classes), "
        f"{slots} trials at a time" + (f"; it continues after {spent} epochs" if spent else "")
    )


def command(name: str, *arguments: str) -> str:
    """Return a command that a person can type here: the script, or outside of the checkout the entry point."""
    script = Path("sweeps", f"{name}.py")
    return " ".join([f"python {script}" if script.exists() else f"tilted-sweeps {name}", *arguments])


def resume_command(name: str, storage: str, tracking_uri: str) -> str:
    """Return the command that continues a sweep, with the storage and the MLflow store if they are not the usual."""
    flags = [("--storage", storage, DEFAULT_STORAGE), ("--tracking-uri", tracking_uri, DEFAULT_TRACKING_URI)]
    given = [text for flag, value, usual in flags if value != usual for text in (flag, value)]
    return command("run", "--resume", name, *given)


def farewell(
    folder: SweepFolder, tracking_uri: str, pages: Mapping[str, str], console: Console, trained: bool = True
) -> None:
    """Print where the result is and what to do next.

    Args:
        folder: of the sweep.
        tracking_uri: MLflow store or server.
        pages: addresses in MLflow's UI, see `Mirror.pages`.
        trained: whether the result is trained; if not, it is a model that was evaluated as it is.
    """
    file = os.path.relpath(folder.best)
    lines = [
        ("Best configuration", file),
        ("Train it", command("train", file, *(["--epochs 40"] if trained else []))),
    ]
    if not tracking_uri.startswith("http"):
        lines.append(("Start MLflow", f"mlflow ui --backend-store-uri {tracking_uri}"))
    if pages:
        lines += [("See the sweep", pages["run"]), ("See its trials", pages["trials"])]
    elif tracking_uri.startswith("http"):
        lines.append(("See the sweep", ui_address(tracking_uri)))
    if folder.report.exists():
        lines.append(("Read the report", os.path.relpath(folder.report)))
    console.print()
    for title, text in lines:
        console.print(f"{title:<19} {text}", highlight=False, markup=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    """Format seconds as `m:ss` or `h:mm:ss`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def wide_console() -> Console:
    """Return a console for stdout; into a file or a pipe it writes 140 columns, so that tables are not folded."""
    console = Console()
    return console if console.is_terminal else Console(width=140)
