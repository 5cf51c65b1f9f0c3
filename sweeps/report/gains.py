"""Who gains and who pays: the IoU of every class beside the reference's, with intervals."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go

from sweeps.report.style import empty
from sweeps.report.subject import Pairs
from sweeps.reporting.plots import BLUE, GREY, VERMILLION
from tce_core.evidence.intervals import Estimate, difference, estimate_classes
from tce_core.evidence.measures import mean_of, miou, worst_iou

BAR = 22  # pixels for each class


class Gain(NamedTuple):
    """One class, or a measure of all."""

    name: str
    before: Estimate
    """The reference."""
    gain: Estimate

    @property
    def sure(self) -> bool:
        """Whether the 95% interval of the gain does not hold 0."""
        return self.gain.low > 0 or self.gain.high < 0


def class_gains(pairs: Pairs, class_names: Sequence[str]) -> list[Gain]:
    """The gain of each class, those that the reference finds worst first; classes without an IoU are left out."""
    before = estimate_classes(pairs.reference)
    found = [
        Gain(name, before[k], difference(pairs.subject, pairs.reference, mean_of([k])))
        for k, name in enumerate(class_names)
    ]
    return sorted((one for one in found if not math.isnan(one.gain.value)), key=lambda one: one.before.value)


def overall_gains(pairs: Pairs) -> dict[str, Estimate]:
    """The gain in mIoU and in the IoU of the worst class."""
    measures = {"mIoU": miou, "worst-class IoU": worst_iou}
    return {name: difference(pairs.subject, pairs.reference, measure) for name, measure in measures.items()}


def gains_figure(gains: Sequence[Gain]) -> go.Figure:
    """Bars to the right for classes that gain, to the left for those that pay; faint where it may be chance."""
    figure = empty("gain in IoU over the reference (points)", "", height=BAR * len(gains) + 110)
    names = [f"{escape(one.name)} ({100 * one.before.value:.0f})" for one in gains]
    values = [100 * one.gain.value for one in gains]
    ends = [(100 * one.gain.low, 100 * one.gain.high) for one in gains]
    colours = [BLUE if one.gain.value >= 0 else VERMILLION for one in gains]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [high - value if math.isfinite(high) else 0 for (_, high), value in zip(ends, values, strict=True)],
        "arrayminus": [value - low if math.isfinite(low) else 0 for (low, _), value in zip(ends, values, strict=True)],
        "color": "#1a1a1a",
        "thickness": 1.5,
        "width": 4,
    }
    figure.add_bar(
        x=values,
        y=names,
        orientation="h",
        error_x=error,
        marker={"color": colours, "opacity": [1 if one.sure else 0.45 for one in gains]},
        hoverinfo="text",
        hovertext=[_hover(one) for one in gains],
        showlegend=False,
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    figure.add_vline(x=0, line={"color": GREY, "width": 1})
    return figure


def _hover(one: Gain) -> str:
    after, before = 100 * (one.before.value + one.gain.value), 100 * one.before.value
    ends = f"{100 * one.gain.low:+.1f} to {100 * one.gain.high:+.1f}"
    return f"<b>{escape(one.name)}</b><br>{before:.1f} → {after:.1f}<br>{100 * one.gain.value:+.1f} ({ends})"
