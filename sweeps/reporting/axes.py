"""The empty plot: its size, its font and its axes, for plotly and for matplotlib."""

from html import escape

import plotly.graph_objects as go
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLACK = "#000000"
FONT = 11
PIXELS = 4 / 3  # CSS pixels in a typographic point
WIDTH, HEIGHT = 1000, 680  # whole figure, in CSS pixels (plotly) or 1/100 inch (matplotlib)
MARGIN = {"l": 90, "r": 30, "t": 60, "b": 140}


def axis_title(name: str, minimize: bool = False) -> str:
    return f"{name} (fraction, {'lower' if minimize else 'higher'} is better)"


def plotly_layout(title: str, x_title: str, y_title: str) -> go.Layout:
    return go.Layout(
        {"width": WIDTH, "height": HEIGHT, "margin": MARGIN},
        template="simple_white",
        title={"text": escape(title), "x": 0.5, "font": {"size": (FONT + 3) * PIXELS}},
        font={"size": FONT * PIXELS, "color": BLACK},
        xaxis={"title": escape(x_title), "showgrid": True},
        yaxis={"title": escape(y_title), "showgrid": True},
        legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.16, "yanchor": "top"},
    )


def matplotlib_axes(title: str, x_title: str, y_title: str) -> tuple[Figure, Axes]:
    """Return a figure that does not use pyplot: it has no global state, so any thread may draw it."""
    figure = Figure(figsize=(WIDTH / 100, HEIGHT / 100), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=FONT + 4, parse_math=False)
    axes.set_xlabel(x_title, fontsize=FONT + 2, parse_math=False)
    axes.set_ylabel(y_title, fontsize=FONT + 2, parse_math=False)
    axes.tick_params(labelsize=FONT)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
