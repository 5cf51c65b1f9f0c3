"""Where the labels of a picture go, so that none covers another, nor more of the picture than it must.

Plain geometry, the same for every drawing library: all lengths are in the unit of the font size, x to the right and
y upwards from the lower left corner of the axes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise, product

Spot = tuple[float, float]
Box = tuple[float, float, float, float]  # centre, half width, half height

LETTER = 0.58  # width of an average letter, as a share of the font size
LINE = 1.6  # height of a line with the air around it, likewise


def place_labels(
    anchors: Sequence[Spot], texts: Sequence[str], obstacles: Sequence[Spot], room: Spot, font: float
) -> list[Spot]:
    """Offsets (right, up) from each anchor to the centre of its label.

    Greedy: label after label takes the cheapest of some 45 places around its anchor. It is worst to leave the axes
    or to collide with an earlier label; then to cross one with the line that leads to the anchor; then to cover
    obstacles (markers, curves, earlier leader lines); what is left is to stay near.

    Args:
        anchors: the points that are labelled.
        texts: their labels, one line each.
        obstacles: points that are better not covered; a curve is given as points along it.
        room: width and height of the axes.
        font: the font size.
    """
    taken: list[Box] = []
    in_the_way = list(obstacles)
    offsets = []
    for anchor, text in zip(anchors, texts, strict=True):
        half = LETTER * font * len(text) / 2 + 4, LINE * font / 2
        sideways = (0, half[0] + 14, -half[0] - 14, half[0] + 50, -half[0] - 50)
        upward = [sign * step * 2.2 * half[1] for step in range(5) for sign in (1, -1)]
        boxes = [(anchor[0] + right, anchor[1] + up, *half) for right, up in product(sideways, upward) if right or up]
        best = min(boxes, key=lambda box: _cost(box, anchor, taken, in_the_way, room))
        taken.append(best)
        in_the_way += points_along([anchor, best[:2]], step=half[1])
        offsets.append((best[0] - anchor[0], best[1] - anchor[1]))
    return offsets


def _cost(box: Box, anchor: Spot, taken: Sequence[Box], in_the_way: Sequence[Spot], room: Spot) -> float:
    x, y, width, height = box
    leader = points_along([anchor, (x, y)], step=height / 2)
    outside = not (width <= x <= room[0] - width and height <= y <= room[1] - height)
    collides = any(abs(x - u) < width + w and abs(y - v) < height + h for u, v, w, h in taken)
    crosses = any(abs(a - u) < w and abs(b - v) < h for (a, b), (u, v, w, h) in product(leader, taken))
    covers = sum(abs(x - u) < width + 5 and abs(y - v) < height + 3 for u, v in in_the_way)
    return 10_000 * (outside + collides) + 1_000 * crosses + 30 * covers + math.dist(anchor, (x, y))


def points_along(vertices: Sequence[Spot], step: float) -> list[Spot]:
    """Points on a polyline, at most `step` apart, its vertices among them."""
    points = list(vertices[:1])
    for (x, y), (u, v) in pairwise(vertices):
        n = max(1, math.ceil(math.hypot(u - x, v - y) / step))
        points += [(x + (u - x) * i / n, y + (v - y) * i / n) for i in range(1, n + 1)]
    return points
