"""How the sweep and its trainings went: the front's growth, learning curves, and classes that were unlearnt."""

import math
from collections.abc import Sequence
from html import escape
from itertools import cycle
from typing import NamedTuple

import plotly.graph_objects as go

from sweeps.report.style import DASHES, LINES, empty
from sweeps.reporting.plots import BLUE
from sweeps.storage.measures import Measure, class_measure
from sweeps.storage.trial import TrialRecord
from sweeps.strategy.outcome import Outcome
from sweeps.strategy.points import Point

LEARNT = 0.1
"""IoU from which on a class counts as learnt."""
KEPT = 0.5
"""A class is unlearnt if it ends below this share of its highest IoU."""
SHOWN = 8
"""Most curves of a figure."""


class Unlearnt(NamedTuple):
    """A class that a training had learnt and then lost."""

    trial: int
    label: str
    name: str
    peak: float
    epoch: int
    """When it was at its peak."""
    last: float


def growth_figure(outcome: Outcome) -> go.Figure:
    """Hypervolume of the front over the epochs that the sweep had spent when each candidate ended."""
    trials, volumes = outcome.history()
    figure = empty("epochs spent by the sweep", "hypervolume of the front (higher is better)")
    spent = [trial.ended_at for trial in trials]
    figure.add_scatter(
        x=spent,
        y=volumes,
        mode="lines+markers",
        line={"shape": "hv", "color": BLUE, "width": 2},
        marker={"size": 6},
        hoverinfo="text",
        hovertext=[
            f"after {epochs} epochs: {volume:.4f}<br>trial {trial.number} {escape(trial.label)}"
            for trial, volume, epochs in zip(trials, volumes, spent, strict=True)
        ],
        showlegend=False,
    )
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    return figure


def curves_figure(points: Sequence[Point], measure: Measure) -> go.Figure:
    """A measure on val over the epochs, one line for each trial, with its adjustment."""
    figure = empty("epoch", f"{escape(measure.title)} on val")
    for point, colour, dash in zip(points[:SHOWN], cycle(LINES), cycle(DASHES), strict=False):
        epochs = [result.epoch for result in point.trial.results]
        values = [_number(measure, result.at(point.tau)) for result in point.trial.results]
        name = f"{point.trial.number} {escape(point.label)}"
        figure.add_scatter(
            x=epochs,
            y=values,
            mode="lines" if len(epochs) > 1 else "markers",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(showlegend=True, height=430)
    return figure


def classes_figure(point: Point, class_names: Sequence[str], classes: Sequence[int]) -> go.Figure:
    """The IoU of some classes over the epochs of one training."""
    figure = empty("epoch", "IoU on val")
    for k, colour, dash in zip(classes, cycle(LINES), cycle(DASHES), strict=False):
        measure, name = class_measure(class_names, k), escape(class_names[k])
        figure.add_scatter(
            x=[result.epoch for result in point.trial.results],
            y=[_number(measure, result.at(point.tau)) for result in point.trial.results],
            mode="lines" if len(point.trial.results) > 1 else "markers",
            name=name,
            line={"color": colour, "width": 2, "dash": dash},
            hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(showlegend=True, height=430)
    return figure


def unlearnt_classes(trials: Sequence[TrialRecord], class_names: Sequence[str]) -> list[Unlearnt]:
    """The classes that trainings had learnt and then lost, the largest loss first."""
    found = []
    for trial in trials:
        for k, name in enumerate(class_names):
            values = [(0.0 if math.isnan(r.iou[k]) else r.iou[k], r.epoch) for r in trial.results]
            peak, epoch = max(values, key=lambda one: one[0], default=(0.0, 0))
            last = values[-1][0] if values else 0.0
            if peak >= LEARNT and last < KEPT * peak:
                found.append(Unlearnt(trial.number, trial.label, name, peak, epoch, last))
    return sorted(found, key=lambda one: one.last - one.peak)


def _number(measure: Measure, scores: object) -> float | None:
    """A value that a figure can show."""
    value = measure.value(scores)  # type: ignore[arg-type]
    return value if math.isfinite(value) else None
