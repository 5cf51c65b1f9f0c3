"""The trials of a sweep as points for the plot of the front, and as a table for MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.reporting.plots import FrontPoint, front_figure, save_front_png
from sweeps.storage.measures import MEASURES, Scored
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome


def front_points(outcome: Outcome, class_names: Sequence[str]) -> list[FrontPoint]:
    """Return one point for each candidate and each stopped trial, in the order of their numbers.

    x is mIoU and y is the fairness measure. Trials that failed or still run have no point.
    """
    front = {trial.number for trial in outcome.front()}
    choice = outcome.choose()
    x_measure, y_measure = outcome.objectives.pair
    points = []
    for trial in _drawn(outcome):
        report, intervals = trial.last.report, trial.last.intervals
        details = {
            key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in trial.params.items()
        }
        details["worst class"] = f"{class_names[report.worst_class]} ({report.worst_iou:.4f})"
        details["epochs"] = f"{trial.epoch} of {trial.config['epochs']}"
        if trial.reason is not None:
            details["stopped"] = trial.reason
        points.append(
            FrontPoint(
                number=trial.number,
                role="baseline" if trial.role == "baseline" else "search",
                label=trial.label,
                x=x_measure.value(trial.last),
                y=y_measure.value(trial.last),
                on_front=trial.number in front,
                recommended=choice is not None and trial.number == choice.trial.number,
                stopped=trial.stopped,
                details=details,
                interval_x=intervals.get(x_measure.name),
                interval_y=intervals.get(y_measure.name),
            )
        )
    return points


def front_table(outcome: Outcome, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the trials as `columns` (names) and `data` (rows); a missing value is None.

    The front comes first, then the other candidates, then stopped trials, each group in order of falling mIoU. The
    measures of a trial are those after `epochs` epochs.
    """
    front = {trial.number for trial in outcome.front()}
    choice = outcome.choose()
    trials = sorted(_drawn(outcome), key=lambda t: (t.stopped, t.number not in front, -t.last.report.miou, t.number))
    params = list(dict.fromkeys(key for trial in trials for key in _settings(trial)))
    columns: list[str] = []
    data: list[list[Any]] = []
    for trial in trials:
        report = trial.last.report
        row = {
            "number": trial.number,
            "label": trial.label,
            **measures(trial.last),  # far left, because MLflow shows five columns at a time
            "worst_class": class_names[report.worst_class],
            "on_front": trial.number in front,
            "recommended": choice is not None and trial.number == choice.trial.number,
            "role": trial.role,
            "state": "stopped" if trial.stopped else "complete",
            "epochs": trial.epoch,
            **{key: _settings(trial).get(key) for key in params},
        }
        columns, data = list(row), [*data, list(row.values())]
    return {"columns": columns, "data": data}


def measures(scores: Scored) -> dict[str, float]:
    """Return the values of all `MEASURES` by name, mIoU first."""
    return {name: MEASURES[name].value(scores) for name in sorted(MEASURES, key=lambda name: name != "miou")}


def save_front(outcome: Outcome, class_names: Sequence[str], folder: Path) -> None:
    """Draw the front into `folder`: `front.html` (interactive, needs no other file or network) and `front.png`."""
    points, fairness = front_points(outcome, class_names), outcome.objectives.fairness
    title, y_name, y_minimize = outcome.record.plan.name, fairness.title, not fairness.maximize
    figure = front_figure(points, title, y_name=y_name, y_minimize=y_minimize)
    figure.update_layout(width=None, height=None, autosize=True)  # fills the window or MLflow's pane
    figure.write_html(folder / "front.html", include_plotlyjs=True, div_id="front", default_height="95vh")
    save_front_png(points, folder / "front.png", title, y_name=y_name, y_minimize=y_minimize)


def _drawn(outcome: Outcome) -> list[TrialRecord]:
    """Return the candidates and the stopped trials."""
    return [trial for trial in outcome.record.trials("baseline", "search") if trial.complete or trial.stopped]


def _settings(trial: TrialRecord) -> dict[str, Any]:
    """Return the searched parameters of a trial; for a baseline, which has none, its loss."""
    return trial.params or {"loss": trial.config["loss"]}
