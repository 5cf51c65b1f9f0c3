"""The plot of the trade-off: all trials, the front, the baselines, the recommended trial and the stopped trials.

`front_figure` draws it with plotly (interactive), `save_front_pictures` with matplotlib (for print). Both use the same
positions, which helper functions compute as plain numbers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go

from sweeps.reporting.axes import BLACK, FONT, HEIGHT, MARGIN, PIXELS, WIDTH, axis_title, matplotlib_axes, plotly_layout
from sweeps.reporting.labels import Spot, place_labels, points_along

# The colours of Okabe and Ito: people with any common colour blindness can tell them apart.
GREY, BLUE, SKY, VERMILLION = "#999999", "#0072B2", "#56B4E9", "#D55E00"
BASELINES = [
    ("square", "#009E73"),
    ("diamond", "#CC79A7"),
    ("triangle-up", "#E69F00"),
    ("triangle-down", BLACK),
    ("pentagon", BLUE),
    ("triangle-left", VERMILLION),
    ("hexagon", "#882255"),
]
MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "triangle-left": "<",
    "hexagon": "h",
    "star": "*",
}
Limits = tuple[float, float]
Polyline = tuple[list[float], list[float]]  # x and y of the vertices; NaN interrupts the line


@dataclass(frozen=True)
class FrontPoint:
    """One model in the plot. Both objectives are fractions in [0, 1]; a higher `x` is better."""

    number: int
    role: Literal["search", "baseline"]
    label: str
    x: float
    y: float
    on_front: bool = False
    recommended: bool = False
    details: Mapping[str, str] = field(default_factory=dict)
    """Names and values that the interactive plot shows under the pointer, one per line."""
    interval_x: tuple[float, float] | None = None
    """Lower and upper end of the 95% confidence interval of `x`, if it was computed."""
    interval_y: tuple[float, float] | None = None
    """Lower and upper end of the 95% confidence interval of `y`."""
    weaker: tuple[float, float] | None = None
    """Of a model with adjusted logits: x and y of the same model with less adjustment, from which a line comes."""
    stopped: bool = False
    """The trial was stopped before its full budget: `x` and `y` are its last values, and it is not a candidate."""
    key: str = ""
    """What a page looks the model up by, once its marker is clicked."""


def front_figure(
    points: Sequence[FrontPoint],
    title: str,
    x_name: str = "mIoU",
    y_name: str = "worst-class IoU",
    y_minimize: bool = False,
) -> go.Figure:
    """Return an interactive plot of the finite points; it may be empty. `y_minimize`: a lower `y` is better."""
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    x_limits, y_limits = _limits(points)
    curve = _staircase(points, x_limits, y_limits, y_minimize)
    figure = go.Figure(layout=plotly_layout(title, axis_title(x_name), axis_title(y_name, y_minimize)))
    figure.update_layout(xaxis_range=x_limits, yaxis_range=y_limits)
    for name, color, (x, y) in _lines(points, curve):
        figure.add_scatter(x=x, y=y, mode="lines", name=name, hoverinfo="skip", line={"color": color, "width": 1.5})
    for layer in _layers(points, x_limits, y_limits):
        edge = {"color": layer.color if layer.hollow else BLACK, "width": layer.edge}
        style = {"color": layer.color, "size": PIXELS * layer.size, "opacity": layer.opacity, "line": edge}
        dots = figure.add_scatter(x=[p.x for p in layer.points], y=[p.y for p in layer.points], mode="markers").data[-1]
        dots.update(name=escape(layer.name), marker={"symbol": layer.symbol + "-open" * layer.hollow, **style})
        dots.update(hoverinfo="text", hovertext=[_hover(point, x_name, y_name) for point in layer.points])
        dots.update(customdata=[point.key for point in layer.points])
    room = WIDTH - MARGIN["l"] - MARGIN["r"], HEIGHT - MARGIN["t"] - MARGIN["b"]
    line = {"arrowhead": 0, "arrowwidth": 1, "arrowcolor": GREY, "standoff": 7, "bgcolor": "rgba(255,255,255,0.8)"}
    for label, at, (right, up) in _labels(points, curve, x_limits, y_limits, room, FONT * PIXELS):
        figure.add_annotation(x=at[0], y=at[1], ax=right, ay=-up, text=escape(label), **line)
    return figure


def save_front_pictures(
    points: Sequence[FrontPoint],
    path: Path,
    title: str,
    x_name: str = "mIoU",
    y_name: str = "worst-class IoU",
    y_minimize: bool = False,
) -> None:
    """Save the plot of `front_figure` as a PNG file of 2000 x 1360 pixels, and as an SVG file beside it."""
    points = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    x_limits, y_limits = _limits(points)
    curve = _staircase(points, x_limits, y_limits, y_minimize)
    figure, axes = matplotlib_axes(title, axis_title(x_name), axis_title(y_name, y_minimize))
    axes.set(xlim=x_limits, ylim=y_limits)
    for name, color, (x, y) in _lines(points, curve):
        axes.plot(x, y, color=color, lw=1.2, label=name)
    for layer in _layers(points, x_limits, y_limits):
        x, y = [point.x for point in layer.points], [point.y for point in layer.points]
        fill, edge = ("none", layer.color) if layer.hollow else (layer.color, BLACK)
        (dots,) = axes.plot(x, y, MARKERS[layer.symbol], label=layer.name, color=layer.color, alpha=layer.opacity)
        dots.set(ms=layer.size, mfc=fill, mec=edge, mew=layer.edge)
    if points:
        legend = figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=FONT)
        for entry in legend.get_texts():
            entry.set_parse_math(False)
    figure.draw_without_rendering()  # the layout fixes the size of the axes only here
    box = axes.get_window_extent()
    room = box.width * 72 / figure.dpi, box.height * 72 / figure.dpi  # typographic points, like the font
    line = {"arrowstyle": "-", "color": GREY, "shrinkA": 0, "shrinkB": 5}
    pad = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
    text: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": FONT, "parse_math": False}
    for label, at, offset in _labels(points, curve, x_limits, y_limits, room, FONT):
        axes.annotate(label, at, offset, textcoords="offset points", arrowprops=line, bbox=pad, **text)
    for file in (path, path.with_suffix(".svg")):
        figure.savefig(file)


class _Layer(NamedTuple):
    name: str
    points: list[FrontPoint]
    symbol: str
    color: str
    size: float  # typographic points
    hollow: bool = False  # keeps baselines visible that lie on the same spot
    edge: float = 0.0
    opacity: float = 1.0


def _layers(points: Sequence[FrontPoint], x_limits: Limits, y_limits: Limits) -> list[_Layer]:
    """Return the groups of markers from back to front. With many baselines, the marker shapes repeat."""
    trials, baselines = ([p for p in points if p.role == role and not p.stopped] for role in ("search", "baseline"))
    early = [p for p in points if p.stopped]
    out_of_view = sum(not (x_limits[0] <= p.x <= x_limits[1] and y_limits[0] <= p.y <= y_limits[1]) for p in early)
    name = "stopped early" + f" ({out_of_view} out of view)" * bool(out_of_view)
    layers = [
        _Layer(name, early, "circle", GREY, 5, hollow=True, edge=1, opacity=0.7),
        _Layer("trial", [p for p in trials if not p.on_front], "circle", GREY, 6, opacity=0.6),
        _Layer("trial on the front", [p for p in trials if p.on_front], "circle", BLUE, 7),
    ]
    for point, (symbol, color) in zip(baselines, cycle(BASELINES), strict=False):
        layers.append(_Layer(point.label, [point], symbol, color, 9, hollow=True, edge=2))
    layers.append(_Layer("recommended", [p for p in points if p.recommended], "star", VERMILLION, 16, edge=0.8))
    return [layer for layer in layers if layer.points]


def _lines(points: Sequence[FrontPoint], curve: Polyline) -> list[tuple[str, str, Polyline]]:
    """Return name, colour and vertices of the lines behind the markers."""
    moves = [end for p in points if p.weaker for end in (p.weaker, (p.x, p.y), (math.nan, math.nan))]
    adjusted = [x for x, _ in moves], [y for _, y in moves]
    lines = [("95% interval", GREY, _bars(points)), ("logit adjustment", SKY, adjusted), ("Pareto front", BLUE, curve)]
    return [line for line in lines if line[2][0]]


def _limits(points: Sequence[FrontPoint]) -> tuple[Limits, Limits]:
    """Return the ranges of the two axes, with some room around the points and intervals that they show.

    All points are shown except far stopped ones, which would squeeze the others into a corner: for stopped trials an
    axis grows on each side by at most its length without them.
    """

    def limits(values: list[float], early: list[float]) -> Limits:
        low, high = min(values or early, default=0.0), max(values or early, default=1.0)
        span = max(high - low, 0.1)
        inside = [value for value in early if low - span <= value <= high + span]
        low, high = min([low, *inside]), max([high, *inside])
        room = max(0.08 * (high - low), 0.01)
        return low - room, high + room

    full, early = [p for p in points if not p.stopped], [p for p in points if p.stopped]
    x = [end for p in full for end in (p.x, *(p.interval_x or ()))]
    y = [end for p in full for end in (p.y, *(p.interval_y or ()))]
    return limits(x, [p.x for p in early]), limits(y, [p.y for p in early])


def _staircase(points: Sequence[FrontPoint], x_limits: Limits, y_limits: Limits, y_minimize: bool) -> Polyline:
    """Return the border of the region that the front dominates, from edge to edge of the plot.

    Between two front points the border keeps the *worse* value of each objective: no candidate lies beyond it.
    """
    front = sorted({(p.x, p.y) for p in points if p.on_front})
    if not front:
        return [], []
    x, y = [x_limits[0]], [front[0][1]]
    for here, level in front:
        x += [x[-1], here]
        y += [level, level]
    return [*x, x[-1]], [*y, y_limits[1] if y_minimize else y_limits[0]]


def _bars(points: Sequence[FrontPoint]) -> Polyline:
    """Return the intervals as lines from end to end, not as error bars: an interval may not contain its point."""
    shown = [p for p in points if p.on_front or p.recommended or _is_baseline(p)]
    ends = [(x, p.y) for p in shown if p.interval_x for x in (*p.interval_x, math.nan)]
    ends += [(p.x, y) for p in shown if p.interval_y for y in (*p.interval_y, math.nan)]
    return [x for x, _ in ends], [y for _, y in ends]


def _labels(
    points: Sequence[FrontPoint], curve: Polyline, x_limits: Limits, y_limits: Limits, room: Spot, font: float
) -> list[tuple[str, Spot, Spot]]:
    """Return text, point and offset of each label, the recommended first. `room`: the size of the axes."""

    def place(x: float, y: float) -> Spot:
        across, up = (x - x_limits[0]) / (x_limits[1] - x_limits[0]), (y - y_limits[0]) / (y_limits[1] - y_limits[0])
        return across * room[0], up * room[1]

    names: dict[Spot, list[str]] = {}  # points on the same spot share one label
    for point in sorted(points, key=lambda p: not p.recommended):
        if point.recommended or _is_baseline(point):
            names.setdefault((point.x, point.y), []).append(point.label)
    texts = [", ".join(labels) for labels in names.values()]
    lines = [list(zip(*curve, strict=True)), *([p.weaker, (p.x, p.y)] for p in points if p.weaker)]
    border = [spot for line in lines for spot in points_along([place(x, y) for x, y in line], step=font)]
    obstacles = [place(p.x, p.y) for p in points] + border
    offsets = place_labels([place(*spot) for spot in names], texts, obstacles, room, font)
    return list(zip(texts, names, offsets, strict=True))


def _is_baseline(point: FrontPoint) -> bool:
    """Return whether the point is a baseline to compare with; a stopped one is not."""
    return point.role == "baseline" and not point.stopped


def _hover(point: FrontPoint, x_name: str, y_name: str) -> str:
    lines = [f"<b>trial {point.number}</b> {escape(point.label)}"]
    for name, value, interval in ((x_name, point.x, point.interval_x), (y_name, point.y, point.interval_y)):
        ends = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
        lines.append(f"{escape(name)} {value:.4f}{ends}")
    return "<br>".join([*lines, *(f"{escape(key)}: {escape(text)}" for key, text in point.details.items())])
