"""The models of a sweep as points for the plot of the front, and as a table for MLflow."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.reporting.plots import FrontPoint, front_figure, save_front_pictures
from sweeps.storage.measures import MEASURES, Scored
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Choice, Outcome
from sweeps.strategy.points import Point, points_of


def front_points(outcome: Outcome, class_names: Sequence[str]) -> list[FrontPoint]:
    """Return the points to draw, in the order of their trials: see `drawn_points`.

    x is mIoU and y is the fairness measure. Trials that failed or still run have no point.
    """
    front, choice = set(outcome.front()), outcome.choose()
    x_measure, y_measure = outcome.objectives.pair
    points: list[FrontPoint] = []
    for point in drawn_points(outcome, front, choice):
        trial, scores = point.trial, point.scores
        points.append(
            FrontPoint(
                number=trial.number,
                role="baseline" if trial.role == "baseline" else "search",
                label=point.label,
                key=f"{trial.number}-{point.tau:g}",
                x=x_measure.value(scores),
                y=y_measure.value(scores),
                on_front=point in front,
                recommended=choice is not None and point == choice.point,
                stopped=trial.stopped,
                details=_details(point, class_names),
                interval_x=scores.intervals.get(x_measure.name),
                interval_y=scores.intervals.get(y_measure.name),
                weaker=(points[-1].x, points[-1].y) if point.tau else None,
            )
        )
    return points


def drawn_points(outcome: Outcome, front: set[Point], choice: Choice | None) -> list[Point]:
    """Return the plain model of each candidate and stopped trial, and the adjusted models that matter.

    These are on the front or recommended, or they are the reference baseline as it should be adjusted. The points of a
    trial follow each other by rising tau.
    """
    adjusted = {*front, *([] if choice is None else [choice.point, choice.adjusted_baseline])}
    drawn = [trial for trial in outcome.record.trials("baseline", "search") if trial.complete or trial.stopped]
    return [point for trial in drawn for point in points_of(trial) if not point.tau or point in adjusted]


def _details(point: Point, class_names: Sequence[str]) -> dict[str, str]:
    trial, report = point.trial, point.scores.report
    details = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in trial.params.items()}
    if point.tau:
        details["logit adjustment"] = f"\N{GREEK SMALL LETTER TAU} = {point.tau:g}"
    details["worst class"] = f"{class_names[report.worst_class]} ({report.worst_iou:.4f})"
    details["epochs"] = f"{trial.epoch} of {trial.config['epochs']}"
    if trial.reason is not None:
        details["stopped"] = trial.reason
    return details


def front_table(outcome: Outcome, class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the points of `drawn_points` as `columns` (names) and `data` (rows); a missing value is None.

    The front comes first, then the other candidates, then stopped trials, each group in order of falling mIoU. The
    measures of a trial are those after `epochs` epochs.
    """
    front, choice, fairness = set(outcome.front()), outcome.choose(), outcome.objectives.fairness
    points = sorted(
        drawn_points(outcome, front, choice),
        key=lambda p: (p.trial.stopped, p not in front, -p.scores.report.miou, p.trial.number, p.tau),
    )
    params = list(dict.fromkeys(key for point in points for key in _settings(point.trial)))
    columns: list[str] = []
    data: list[list[Any]] = []
    for point in points:
        trial, scores = point.trial, point.scores
        row = {
            "number": trial.number,
            "label": trial.label,
            **measures(scores),  # far left, because MLflow shows five columns at a time
            fairness.name: fairness.value(scores),  # one of the measures, or a class
            "logit_adjustment": point.tau,  # `tau` is a setting of the loss `logit_adjusted`
            "worst_class": class_names[scores.report.worst_class],
            "on_front": point in front,
            "recommended": choice is not None and point == choice.point,
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
    """Draw the front into `folder`: `front.png` and `front.svg`."""
    fairness = outcome.objectives.fairness
    save_front_pictures(
        front_points(outcome, class_names),
        folder / "front.png",
        outcome.record.plan.name,
        y_name=fairness.title,
        y_minimize=not fairness.maximize,
    )


def save_front_page(outcome: Outcome, class_names: Sequence[str], folder: Path) -> None:
    """Draw the front into `folder` as `front.html`: interactive, needs no other file or network."""
    fairness = outcome.objectives.fairness
    points, title = front_points(outcome, class_names), outcome.record.plan.name
    figure = front_figure(points, title, y_name=fairness.title, y_minimize=not fairness.maximize)
    figure.update_layout(width=None, height=None, autosize=True)  # fills the window or MLflow's pane
    figure.write_html(folder / "front.html", include_plotlyjs=True, div_id="front", default_height="95vh")


def _settings(trial: TrialRecord) -> dict[str, Any]:
    """Return the searched parameters of a trial; for a baseline, which has none, its loss."""
    return trial.params or {"loss": trial.config["loss"]}
