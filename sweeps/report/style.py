"""How the figures of the report look."""

import plotly.graph_objects as go

from sweeps.reporting.axes import BLACK, FONT, PIXELS
from sweeps.reporting.plots import BLUE, GREY, SKY, VERMILLION

LINES = (BLACK, VERMILLION, BLUE, "#009E73", "#CC79A7", "#E69F00", SKY, GREY)
"""Okabe and Ito's colours: people with any common colour blindness can tell them apart."""
DASHES = ("dash", "solid", "dot", "dashdot", "longdash")
SCALE = ("#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838")
"""Cividis, from low to high: even for the colour-blind, and in print, brighter is more."""


def empty(x_title: str, y_title: str, height: int = 420) -> go.Figure:
    """A figure that fills its panel's width; titles stand in the page, above it."""
    return go.Figure(
        layout=go.Layout(
            {"height": height, "autosize": True, "margin": {"l": 70, "r": 20, "t": 20, "b": 60}},
            template="simple_white",
            font={"size": FONT * PIXELS * 0.95, "color": BLACK},
            xaxis={"title": x_title, "showgrid": True, "automargin": True},
            yaxis={"title": y_title, "showgrid": True, "automargin": True},
            legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.2, "yanchor": "top"},
            hoverlabel={"align": "left"},
        )
    )
