"""Asynchronous successive halving for two objectives: the decision, on plain arrays.

At a few epochs, the *rungs*, a trial is compared with all that got there before it. It goes on if it is in the best
share of them: by non-dominated rank and, inside the rank that the cut runs through, by a choice that is well spread
along it. Nobody waits for anybody (asynchronous, as in ASHA, arXiv 1810.05934); the spread is the greedy epsilon-net of
MO-ASHA (arXiv 2106.12639).
"""

import math
from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

from sweeps.strategy.pareto import BOTH_UP


def default_rungs(epochs: int) -> tuple[int, ...]:
    """At a sixth and at a half of the full budget: 9 and 26 of 52 epochs, 2 and 6 of 12.

    Not after one epoch, which tells little.
    """
    return tuple(rung for part in (6, 2) if 2 <= (rung := math.ceil(epochs / part)) < epochs)


def goes_on(values: npt.ArrayLike, index: int, keep: float, maximize: Sequence[bool] = BOTH_UP) -> bool:
    """Whether row `index` is among the best `keep` of the rows; the first trial at a rung always goes on.

    Args:
        values: (n, 2) finite objectives of the trials that have reached a rung, in any order.
        index: the row that is to be decided on.
        keep: share that goes on, in (0, 1]; of n rows the best max(1, floor(keep n)).

    Raises:
        ValueError: `values` is not (n, 2) and finite, or `keep` is no such share.
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("values must be (n, 2) and finite")
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], not {keep}")
    places = max(1, int(keep * len(points) + 1e-9))
    ranks = moocore.pareto_rank(points, maximise=list(maximize))
    better = int((ranks < ranks[index]).sum())
    rank = np.flatnonzero(ranks == ranks[index])
    if better + len(rank) <= places:
        return True
    if better >= places:
        return False
    return index in rank[spread(points[rank], maximize)[: places - better]]


def spread(values: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> npt.NDArray[np.intp]:
    """An order of the rows of one front, (n, 2), of which every beginning is well spread: each next row is the one
    farthest from those before it, both objectives scaled to the front's range. First comes the best balanced row.

    Of several such rows the best in the first objective comes first; the order of rows decides
    between equal ones only.
    """
    points = np.asarray(values, dtype=np.float64) * np.where(maximize, 1.0, -1.0)
    rows = np.argsort(-points[:, 0], kind="stable")
    points = points[rows]
    span = np.ptp(points, axis=0)
    scaled = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0)
    order = [int(np.argmax(scaled.sum(axis=1)))]
    nearest = np.abs(scaled - scaled[order[0]]).sum(axis=1)
    for _ in range(1, len(scaled)):
        nearest[order] = -1.0
        order.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.abs(scaled - scaled[order[-1]]).sum(axis=1))
    return rows[order]
