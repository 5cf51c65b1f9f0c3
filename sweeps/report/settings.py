"""What the search tried and what it depends on: parallel coordinates, slices and importance of the settings."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator

from search_spaces.dimensions import Choices, Range
from sweeps.report.style import LINES, SCALE, empty
from sweeps.reporting.plots import BLUE
from sweeps.storage.measures import Measure
from sweeps.storage.trial import TrialRecord

Dimensions = Mapping[str, Range | Choices]
LEAST = 10
"""Fewest trials from which an importance is worked out."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "cross")


def parallel_figure(trials: Sequence[TrialRecord], dimensions: Dimensions, measures: Sequence[Measure]) -> go.Figure:
    """A line for each trial through its settings and its measures; the brighter, the better the last measure.

    Args:
        trials: searched trials with a result, the better ones last, so that they lie on top.
        dimensions: the searched settings.
        measures: the measures at the right, of the last epoch; the last one colours the lines.
    """
    figure = empty("", "", height=460)
    axes = [*dimensions, *(measure.label for measure in measures)]
    limits = [_limits(trials, measure) for measure in measures]
    lead = [measures[-1].value(trial.last) for trial in trials]
    worst_best = limits[-1] if measures[-1].maximize else limits[-1][::-1]
    for trial, value in zip(trials, lead, strict=True):
        heights = [_height(dimension, trial.params.get(name)) for name, dimension in dimensions.items()]
        values = [measure.value(trial.last) for measure in measures]
        heights += [_between(one, *ends) for one, ends in zip(values, limits, strict=True)]
        figure.add_scatter(
            x=list(range(len(axes))),
            y=heights,
            mode="lines",
            connectgaps=True,  # over the axes of settings that it does not have
            line={
                "color": _shade(value, *worst_best),
                "width": 1 if trial.stopped else 2.5,
            },
            opacity=0.45 if trial.stopped else 0.9,
            hoverinfo="text",
            hovertext=_hover(trial, measures),
            showlegend=False,
        )
    for place, name in enumerate(axes):
        figure.add_vline(x=place, line={"color": "#444", "width": 1})
        figure.add_annotation(x=place, y=1.1, text=f"<b>{escape(name)}</b>", showarrow=False)
    for place, dimension in enumerate(dimensions.values()):
        for text, height in _ticks(dimension):
            _tick(figure, place, height, text)
    for place, ends in enumerate(limits, start=len(dimensions)):
        for height in (0.0, 0.5, 1.0):
            _tick(figure, place, height, f"{ends[0] + height * (ends[1] - ends[0]):.3g}")
    figure.update_xaxes(visible=False, range=[-0.3, len(axes) - 0.6])
    figure.update_yaxes(visible=False, range=[-0.12, 1.18])
    figure.update_layout(margin={"l": 20, "r": 20, "t": 10, "b": 10}, hovermode="closest")
    return figure


def slice_figure(trials: Sequence[TrialRecord], name: str, dimension: Range, measure: Measure) -> go.Figure:
    """A measure over one setting, a marker for each trial that has it; hollow: stopped early."""
    figure = empty(escape(name), escape(measure.title), height=320)
    losses = sorted({str(trial.config["loss"]) for trial in trials})  # the same colours in every slice
    for loss, colour, symbol in zip(losses, cycle(LINES), cycle(SYMBOLS), strict=False):
        mine = [trial for trial in trials if name in trial.params and trial.config["loss"] == loss]
        if not mine:
            continue
        figure.add_scatter(
            x=[trial.params[name] for trial in mine],
            y=[measure.value(trial.last) for trial in mine],
            mode="markers",
            name=escape(loss),
            marker={
                "symbol": [f"{symbol}-open" if trial.stopped else symbol for trial in mine],
                "color": colour,
                "size": 9,
                "line": {"width": 1.5, "color": colour},
            },
            hoverinfo="text",
            hovertext=[_hover(trial, [measure]) for trial in mine],
        )
    figure.update_layout(showlegend=len(losses) > 1, legend_y=-0.34)
    if dimension.log:
        low, high = math.log10(dimension.low), math.log10(dimension.high)
        steps = (1, 2, 5) if high - low < 2.5 else (1,)
        ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
        figure.update_xaxes(type="log", range=[low - 0.05, high + 0.05])
        figure.update_xaxes(tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    return figure


def strengths_figure(trials: Sequence[TrialRecord], measure: Measure) -> go.Figure:
    """A measure over the strength of logit adjustment, a line for each trial."""
    figure = empty("strength of logit adjustment, τ", escape(measure.title), height=320)
    for trial, colour in zip(trials, cycle(LINES), strict=False):
        name = f"{trial.number} {escape(trial.label)}"
        figure.add_scatter(
            x=[scores.tau for scores in trial.last.curve],
            y=[measure.value(scores) for scores in trial.last.curve],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2},
            hovertemplate=f"{name}<br>τ = %{{x}}: %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(showlegend=False)
    return figure


def importance_of(trials: Sequence[TrialRecord], dimensions: Dimensions, measure: Measure) -> dict[str, float]:
    """How much each setting that all trials have decides about being among the better ones; the shares sum to 1.

    PED-ANOVA (Watanabe et al., arXiv 2304.10255) of the measure at the first epoch that all trials have, so that
    stopped trials count like the others. {} with fewer than `LEAST` trials or settings that tell nothing.
    """
    common = {name: one for name, one in dimensions.items() if all(name in trial.params for trial in trials)}
    if len(trials) < LEAST or len(common) < 2:
        return {}
    epoch = min(trial.epoch for trial in trials)
    distributions = {name: _distribution(one) for name, one in common.items()}
    study = optuna.create_study(direction="maximize" if measure.maximize else "minimize")
    for trial in trials:
        value = measure.value(trial.at_epoch(epoch))
        if math.isfinite(value):
            params = {name: trial.params[name] for name in common}
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=value))
    if len({trial.value for trial in study.trials}) < 2:
        return {}
    found = optuna.importance.get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    return dict(found) if math.isfinite(sum(found.values())) else {}


def importance_figure(shares: Mapping[str, float]) -> go.Figure:
    figure = empty("share of what decides", "", height=60 + 44 * len(shares) + 40)
    names, values = list(shares), list(shares.values())
    figure.add_bar(
        x=values, y=[escape(name) for name in names], orientation="h", marker_color=BLUE, hovertemplate="%{x:.0%}"
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return figure


def _distribution(dimension: Range | Choices) -> optuna.distributions.BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(tuple(dimension.choices))
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _limits(trials: Sequence[TrialRecord], measure: Measure) -> tuple[float, float]:
    values = [value for trial in trials if math.isfinite(value := measure.value(trial.last))]
    return min(values, default=0.0), max(values, default=1.0)


def _between(value: float, low: float, high: float) -> float | None:
    if not math.isfinite(value):
        return None
    return 0.5 if high == low else (value - low) / (high - low)


def _height(dimension: Range | Choices, value: Any) -> float | None:
    """Where a setting's value lies on its axis, in [0, 1]; None if the trial does not have it."""
    if value is None:
        return None
    if isinstance(dimension, Choices):
        return _between(dimension.choices.index(value), 0, len(dimension.choices) - 1)
    if dimension.log:
        return _between(math.log(value), math.log(dimension.low), math.log(dimension.high))
    return _between(value, dimension.low, dimension.high)


def _ticks(dimension: Range | Choices) -> list[tuple[str, float]]:
    if isinstance(dimension, Choices):
        return [(str(value), _height(dimension, value) or 0.0) for value in dimension.choices]
    low, high = dimension.low, dimension.high
    middle = math.sqrt(low * high) if dimension.log else (low + high) / 2
    return [(f"{value:.3g}", _height(dimension, value) or 0.0) for value in (low, middle, high)]


def _tick(figure: go.Figure, place: int, height: float, text: str) -> None:
    paper = {"bgcolor": "rgba(255,255,255,0.8)", "borderpad": 1, "font": {"size": 12}}
    figure.add_annotation(x=place, y=height, text=escape(text), showarrow=False, xanchor="left", xshift=4, **paper)


def _shade(value: float, worst: float, best: float) -> str:
    part = _between(value, worst, best) if math.isfinite(value) else 0.0
    return SCALE[round((part or 0.0) * (len(SCALE) - 1))]


def _hover(trial: TrialRecord, measures: Sequence[Measure]) -> str:
    lines = [f"<b>trial {trial.number}</b> {escape(trial.label)}"]
    lines += [f"{escape(measure.title)} {measure.value(trial.last):.3f}" for measure in measures]
    stopped = " (stopped early)" * trial.stopped
    return "<br>".join([*lines, f"epoch {trial.epoch}{stopped}"])


def ordered(trials: Sequence[TrialRecord], measure: Measure) -> list[TrialRecord]:
    """The trials with a finite measure, the worst first, stopped ones before the others."""
    finite = [trial for trial in trials if trial.results and math.isfinite(measure.value(trial.last))]
    values = np.array([measure.value(trial.last) for trial in finite]) * (1 if measure.maximize else -1)
    return [finite[i] for i in np.lexsort((values, np.array([not trial.stopped for trial in finite], dtype=bool)))]
