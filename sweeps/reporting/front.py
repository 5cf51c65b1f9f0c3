"""The trials of a sweep as points of the trade-off, and as a table: what is drawn, shown in MLflow and saved."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.reporting.plots import FrontPoint, front_figure, save_front_png
from sweeps.storage.objectives import MEASURES
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from tce_core.fairness import FairnessReport


def front_points(outcome: Outcome, class_names: Sequence[str]) -> list[FrontPoint]:
    """Every candidate and stopped trial, in order of its number: mIoU across, the fairness measure upwards."""
    front = {trial.number for trial in outcome.front()}
    choice = outcome.choose()
    across, upwards = outcome.objectives.pair
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
                x=across.value(report),
                y=upwards.value(report),
                on_front=trial.number in front,
                recommended=choice is not None and trial.number == choice.trial.number,
                stopped=trial.stopped,
                details=details,
                interval_x=intervals.get(across.name),
                interval_y=intervals.get(upwards.name),
            )
        )
    return points


def front_table(outcome: Outcome, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """The trials as `columns` and rows of `data`; absent is None.

    First the front, then the other candidates, then those that were stopped, each part by falling mIoU. `epochs` says
    after how many a trial was measured.
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
            **measures(report),  # what is compared comes into view first: MLflow shows five columns at a time
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


def measures(report: FairnessReport) -> dict[str, float]:
    """Every measure by name, mIoU first."""
    return {name: MEASURES[name].value(report) for name in sorted(MEASURES, key=lambda name: name != "miou")}


def save_front(outcome: Outcome, class_names: Sequence[str], folder: Path) -> None:
    """Draw the front as `front.html`, interactive and complete in itself, and as `front.png`."""
    points, fairness = front_points(outcome, class_names), outcome.objectives.fairness
    title, y_name, y_minimize = outcome.record.plan.name, fairness.title, not fairness.maximize
    figure = front_figure(points, title, y_name=y_name, y_minimize=y_minimize)
    figure.update_layout(width=None, height=None, autosize=True)  # as large as the window, or the pane in MLflow
    figure.write_html(folder / "front.html", include_plotlyjs=True, div_id="front", default_height="95vh")
    save_front_png(points, folder / "front.png", title, y_name=y_name, y_minimize=y_minimize)


def _drawn(outcome: Outcome) -> list[TrialRecord]:
    """The candidates, and the trials that were stopped before they could become one."""
    return [trial for trial in outcome.record.trials("baseline", "search") if trial.complete or trial.stopped]


def _settings(trial: TrialRecord) -> dict[str, Any]:
    """What sets the trial apart: for a baseline, which has no searched parameters, its loss."""
    return trial.params or {"loss": trial.config["loss"]}
