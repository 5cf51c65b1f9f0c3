"""The text output of a sweep in the terminal: live progress and the final summary."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.trial import TrialState
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from sweeps.reporting.mlflow_pages import ui_address
from sweeps.storage.folder import DEFAULT_STORAGE, DEFAULT_TRACKING_URI
from sweeps.storage.measures import Measure
from sweeps.storage.record import Record
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.floors import SHOWN, beside_bound
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.search import Search
from tce_core.data.dataset import Dataset


class ProgressDisplay:
    """Live progress: one line per ended trial and, on a terminal, a bar that counts the epochs of the whole sweep."""

    def __init__(self, search: Search, class_names: Sequence[str], console: Console) -> None:
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

    def __enter__(self) -> "ProgressDisplay":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def on_trial_start(self, number: int) -> None:
        self.running.add(number)

    def on_epoch(self, number: int) -> None:
        done, expected = self.record.epochs, self.search.epochs_expected
        pace = (time.monotonic() - self.started) / max(1, done - self.resumed_at)
        left = pace * max(0, expected - done)
        if self.record.plan.max_hours is not None:
            left = min(left, max(0.0, 3600 * self.record.plan.max_hours - self.search.budget.seconds))
        trials = ", ".join(str(n) for n in sorted(self.running))
        self.progress.update(
            self.bar, completed=done, total=expected, description=f"trial {trials}", left=f"about {_clock(left)} left"
        )

    def on_trial_end(self, number: int) -> None:
        self.running.discard(number)
        trial = self.record[number]
        elapsed = _clock(time.monotonic() - self.started)
        head = f"[dim]{elapsed:>7}[/]  {number:>3}  {trial.role:<8}  {escape(trial.label):<46}"
        if trial.state == TrialState.FAIL:
            text = f"{head}  [red]failed[/]: {escape(trial.short_reason)}"
        else:
            report = trial.last.report
            worst = f"{report.worst_iou:.3f} ({escape(self.class_names[report.worst_class])})"
            note = f"  [dim]stopped after epoch {trial.epoch}[/]" if trial.stopped else ""
            text = f"{head}  mIoU {report.miou:.3f}  worst {worst}{note}"
        self.progress.console.print(text, highlight=False, soft_wrap=True)


def headline(search: Search, data: Dataset, slots: int) -> str:
    """Return the sentence that a sweep begins with."""
    plan, spent = search.plan, search.record.epochs
    return (
        f"Sweep '{plan.name}': {len(search.space.baselines)} baselines, then {plan.trials} configurations by "
        f"{plan.sampler}, on {data.name} ({len(data.train)} images, {data.num_classes} classes), "
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


def farewell(best: Path, tracking_uri: str, pages: Mapping[str, str], console: Console) -> None:
    """Print where the result is and what to do next.

    Args:
        best: the exported file.
        tracking_uri: MLflow store or server.
        pages: addresses in MLflow's UI, see `Mirror.pages`.
    """
    file = os.path.relpath(best)
    lines = [
        ("Best configuration", file),
        ("Train it", command("train", file, "--epochs 40")),
    ]
    if not tracking_uri.startswith("http"):
        lines.append(("Start MLflow", f"mlflow ui --backend-store-uri {tracking_uri}"))
    if pages:
        lines += [("See the sweep", pages["run"]), ("See its trials", pages["trials"])]
    elif tracking_uri.startswith("http"):
        lines.append(("See the sweep", ui_address(tracking_uri)))
    console.print()
    for title, text in lines:
        console.print(f"{title:<19} {text}", highlight=False, markup=False, soft_wrap=True)


def summary(outcome: Outcome, class_names: Sequence[str], console: Console) -> None:
    """Print the front, the recommended trial and the baseline with their fresh seeds, the verdict and the cost."""
    choice = outcome.choose()
    trials = outcome.front()
    table = _table("Pareto front: mIoU against " + outcome.objectives.fairness.title)
    for trial in trials:
        mark = "recommended" if choice is not None and trial.number == choice.trial.number else ""
        _add(table, trial, class_names, mark)
    console.print(table)
    if choice is not None:
        table = _table("Recommended configuration and baseline")
        baseline = [] if choice.baseline in (None, choice.trial) else [(choice.baseline, "baseline")]
        for compared, role in [(choice.trial, "recommended"), *baseline]:
            assert compared is not None
            for run in [compared, *outcome.repetitions(compared)]:
                _add(table, run, class_names, f"{role}, seed {run.config['seed']}")
        console.print(table)
        console.print(verdict(choice, outcome), highlight=False, markup=False, soft_wrap=True)
    console.print(spending(outcome.record), highlight=False, markup=False, soft_wrap=True)


def spending(record: Record) -> str:
    """Return the sentence of `spent` and, if the search stopped early, the reason."""
    text = spent(record)
    return f"{text} The search stopped early: {record.search_stopped}." if record.search_stopped else text


def spent(record: Record) -> str:
    """Return a sentence with the epochs spent and the epochs that full training of the same trials takes.

    A trial that failed before its first epoch does not count.
    """
    trials = [trial for trial in record.trials() if trial.results]
    full = sum(trial.config["epochs"] for trial in trials)
    stopped = sum(trial.stopped for trial in trials)
    text = f"Spent {record.epochs} epochs on {len(trials)} trials"
    if not full:
        return text + "."
    share = f"{record.epochs / full:.0%}"
    return f"{text} ({stopped} stopped early): {share} of the {full} epochs that full-length trials need."


def verdict(choice: Choice, outcome: Outcome) -> str:
    """Return a sentence with the gain and the cost of the recommended trial against the reference baseline.

    It compares the means over the fresh seeds that both have been trained with. Without such seeds it compares the two
    trials themselves, and says so: the recommended one was chosen by these very values.
    """
    if choice.baseline is None:
        return "There is no baseline to compare with."
    if choice.trial.number == choice.baseline.number:
        return "No searched configuration beats the baseline within the allowance, so the baseline is recommended."
    runs, baselines = (
        {run.config["seed"]: run for run in outcome.repetitions(trial)} for trial in (choice.trial, choice.baseline)
    )
    seeds = sorted(runs.keys() & baselines.keys())
    pairs = [(runs[seed], baselines[seed]) for seed in seeds] or [(choice.trial, choice.baseline)]
    basis = (
        f"mean over {len(seeds)} fresh seed{'s' * (len(seeds) > 1)}" if seeds else "one seed, also used for the choice"
    )
    lead, guard = outcome.objectives.lead, outcome.objectives.guard
    text = (
        f"Compared with {choice.baseline.label} ({basis}): {lead.title} {_mean_gain(pairs, lead):+.3f}, "
        f"{guard.title} {_mean_gain(pairs, guard):+.3f} (allowed: {-outcome.objectives.allowance:+.3f})."
    )
    return f"{text} {kept_floors(choice)}" if outcome.objectives.floors else text


def kept_floors(choice: Choice) -> str:
    """Return a sentence with the floors that the recommended trial keeps, the tightest first."""
    tightest = sorted(choice.standings, key=lambda one: -one.shortfall)
    shown = ", ".join(f"{one.name} {beside_bound(one)}" for one in tightest[:SHOWN])
    more = f", and {len(tightest) - SHOWN} more" if len(tightest) > SHOWN else ""
    return f"It keeps its floors: {shown}{more}."


def _mean_gain(pairs: Sequence[tuple[TrialRecord, TrialRecord]], measure: Measure) -> float:
    gains = [measure.value(one.last) - measure.value(other.last) for one, other in pairs]
    return sum(gains) / len(gains)


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("configuration", overflow="fold")
    for name in ("mIoU", "worst IoU"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("worst class", no_wrap=True)
    table.add_column("std", justify="right", no_wrap=True)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    return table


def _add(table: Table, trial: TrialRecord, class_names: Sequence[str], note: str) -> None:
    report = trial.last.report
    worst = f"{report.worst_iou:.3f}", escape(class_names[report.worst_class])
    label = escape(trial.label.split(" seed=")[0])
    table.add_row(
        str(trial.number), label, f"{report.miou:.3f}", *worst, f"{report.std_iou:.3f}", str(trial.epoch), note
    )


def _clock(seconds: float) -> str:
    """Format seconds as `m:ss` or `h:mm:ss`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def wide_console() -> Console:
    """Return a console for stdout; into a file or a pipe it writes 110 columns, so that tables are not folded."""
    console = Console()
    return console if console.is_terminal else Console(width=110)
