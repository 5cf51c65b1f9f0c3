"""A confusion matrix as a heat map, in SVG. It has numbers where they are readable."""

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from tce_core.iou import Floats

NUMBERED = 30
"""Most classes of a map with numbers. A larger map has smaller cells, and tells a number under the pointer only."""
SHOWN, SHOWN_WITHOUT_NUMBERS = 0.005, 0.02
"""Cells below this share stay empty: it rounds to 0%, or could hardly be seen. It also bounds the size of the page."""
BLUES = np.array([[255, 255, 255], [198, 219, 239], [107, 174, 214], [33, 113, 181], [8, 48, 107]])
"""ColorBrewer's Blues, from 0 to 1. Its lightness falls all the way, so that no colour vision is needed."""
GAMMA = 0.6
"""A share is raised to this power before it is coloured, so that 5% can be seen."""
DARK = 0.57
"""Cells of larger shares have white numbers; so the contrast is at least 4.5, as WCAG 2.2 asks for."""


def heat_map(shares: Floats, class_names: Sequence[str], said: str) -> str:
    """Draw a heat map. Its colours are those of `colour`, the cells of the diagonal have an outline.

    Args:
        shares: (K, K) in [0, 1] or NaN, rows = truth, columns = prediction.
        class_names: names of the K classes.
        said: what a cell says under the pointer, with {truth}, {prediction} and {share}.

    Returns:
        An `<svg>` element.
    """
    number = len(class_names)
    cell, font = (28, 12) if number <= NUMBERED else (11, 9)
    margin = round(0.6 * font * min(24, max(map(len, class_names)))) + 10
    side, middle = margin + cell * number + 2, cell // 2
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{side}" height="{side}" font-size="{font}" role="img">']
    for k, name in enumerate(class_names):
        text, place = escape(_short(name)), margin + cell * k + middle
        parts.append(f'<text x="{margin - 5}" y="{place + font // 3}" text-anchor="end">{text}</text>')
        turned = f'transform="translate({place + font // 3},{margin - 5}) rotate(-90)"'
        parts.append(f"<text {turned}>{text}</text>")
    least = SHOWN if number <= NUMBERED else SHOWN_WITHOUT_NUMBERS
    for row, column in np.argwhere(np.nan_to_num(shares) >= least).tolist():
        share, x, y = float(shares[row, column]), margin + cell * column, margin + cell * row
        title = said.format(truth=class_names[row], prediction=class_names[column], share=f"{share:.1%}")
        shape = f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="{colour(share)}"/>'
        if number <= NUMBERED:
            shape += f'<text x="{x + middle}" y="{y + middle + 4}" text-anchor="middle"'
            shape += f' fill="{ink(share)}">{100 * share:.0f}</text>'
        parts.append(f"<g><title>{escape(title)}</title>{shape}</g>")
    parts += [_outline(margin + cell * k, margin + cell * k, cell, "#222") for k in range(number)]
    parts.append(_outline(margin, margin, cell * number, "#999"))
    return "".join([*parts, "</svg>"])


def colour(share: float) -> str:
    """Return the colour of a share in [0, 1], such as `#c6dbef`."""
    at = np.linspace(0, 1, len(BLUES))
    channels: npt.NDArray[np.float64] = np.array([np.interp(share**GAMMA, at, channel) for channel in BLUES.T])
    return "#" + "".join(f"{round(value):02x}" for value in channels.tolist())


def ink(share: float) -> str:
    """Return the colour of a number on the colour of its share."""
    return "#fff" if share > DARK else "#000"


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _outline(x: int, y: int, side: int, stroke: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{side}" height="{side}" fill="none" stroke="{stroke}"/>'
