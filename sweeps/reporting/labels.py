"""Positions for the labels of a plot: labels avoid each other and hide as little of the plot as possible.

This is plain geometry for any drawing library. All lengths have the unit of the font size; x points right and y points
up from the lower left corner of the axes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, product

Spot = tuple[float, float]
Box = tuple[float, float, float, float]  # centre, half width, half height

LETTER = 0.58  # average width of a letter, relative to the font size
LINE = 1.6  # height of a line with its spacing, relative to the font size


def place_labels(
    anchors: Sequence[Spot], texts: Sequence[str], obstacles: Sequence[Spot], room: Spot, font: float
) -> list[Spot]:
    """Choose a position for each label with a greedy search.

    Labels are placed one after another. Each takes the cheapest of about 45 positions around its anchor. Costs, from
    high to low: the label leaves the axes or overlaps an earlier label; its leader line (from the anchor to the label)
    crosses an earlier label; it covers obstacles or earlier leader lines; it is far from its anchor.

    Args:
        anchors: points to label.
        texts: one label of one line for each anchor.
        obstacles: points that labels should not cover, such as markers; give a curve as points along it.
        room: width and height of the axes.
        font: font size.

    Returns:
        For each anchor the offset (right, up) to the centre of its label.

    Raises:
        ValueError: `anchors` and `texts` differ in length.
    """
    placed: list[Box] = []
    occupied = list(obstacles)
    offsets = []
    for anchor, text in zip(anchors, texts, strict=True):
        half = LETTER * font * len(text) / 2 + 4, LINE * font / 2
        sideways = (0, half[0] + 14, -half[0] - 14, half[0] + 50, -half[0] - 50)
        upward = [sign * step * 2.2 * half[1] for step in range(5) for sign in (1, -1)]
        boxes = [(anchor[0] + right, anchor[1] + up, *half) for right, up in product(sideways, upward) if right or up]
        best = min(boxes, key=lambda box: _cost(box, anchor, placed, occupied, room))
        placed.append(best)
        occupied += points_along([anchor, best[:2]], step=half[1])
        offsets.append((best[0] - anchor[0], best[1] - anchor[1]))
    return offsets


def _cost(box: Box, anchor: Spot, placed: Sequence[Box], occupied: Sequence[Spot], room: Spot) -> float:
    x, y, width, height = box
    leader = points_along([anchor, (x, y)], step=height / 2)
    outside = not (width <= x <= room[0] - width and height <= y <= room[1] - height)
    collides = any(abs(x - u) < width + w and abs(y - v) < height + h for u, v, w, h in placed)
    crosses = any(abs(a - u) < w and abs(b - v) < h for (a, b), (u, v, w, h) in product(leader, placed))
    covers = sum(abs(x - u) < width + 5 and abs(y - v) < height + 3 for u, v in occupied)
    return 10_000 * (outside + collides) + 1_000 * crosses + 30 * covers + math.dist(anchor, (x, y))


def points_along(vertices: Sequence[Spot], step: float) -> list[Spot]:
    """Return points on a polyline that are at most `step` apart and include its vertices."""
    points = list(vertices[:1])
    for (x, y), (u, v) in pairwise(vertices):
        n = max(1, math.ceil(math.hypot(u - x, v - y) / step))
        points += [(x + (u - x) * i / n, y + (v - y) * i / n) for i in range(1, n + 1)]
    return points
