"""Asynchronous successive halving for two objectives: the decision on plain arrays.

At a few epochs, the *rungs*, a trial is compared with all trials that reached the rung before it. It continues if it is
in the best share of them. Trials are ordered by non-dominated rank. If only part of a rank fits into the share, the
places go to trials that are well spread along this rank. No trial waits for another (asynchronous, as in ASHA, arXiv
1810.05934). The spread is the greedy epsilon-net of MO-ASHA (arXiv 2106.12639).
"""

import math
from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

from sweeps.strategy.pareto import BOTH_UP


def default_rungs(epochs: int) -> tuple[int, ...]:
    """Return rungs at a sixth and at half of a trial's epochs, rounded up: 9 and 26 of 52 epochs, 2 and 6 of 12.

    Epoch 1 is never a rung, because results after one epoch say little.
    """
    return tuple(rung for part in (6, 2) if 2 <= (rung := math.ceil(epochs / part)) < epochs)


def goes_on(values: npt.ArrayLike, index: int, keep: float, maximize: Sequence[bool] = BOTH_UP) -> bool:
    """Decide whether a trial continues after a rung; the first trial at a rung always does.

    Args:
        values: (n, 2) finite objectives of the trials that have reached the rung, in any order.
        index: row of the trial to decide on.
        keep: share that continues, in (0, 1]: the best max(1, floor(keep n)) of n rows.
        maximize: for each objective, whether more is better.

    Returns:
        Whether the row is in the best share.

    Raises:
        ValueError: `values` is not (n, 2) and finite, or `keep` is not in (0, 1].
    """
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError("values must be (n, 2) and finite")
    if not 0 < keep <= 1:
        raise ValueError(f"keep must be in (0, 1], not {keep}")
    places = max(1, int(keep * len(points) + 1e-9))  # 0.29 x 100 is 28.999999999999996 in binary
    ranks = moocore.pareto_rank(points, maximise=list(maximize))
    better = int((ranks < ranks[index]).sum())
    rank = np.flatnonzero(ranks == ranks[index])
    if better + len(rank) <= places:
        return True
    if better >= places:
        return False
    return index in rank[spread(points[rank], maximize)[: places - better]]


def spread(values: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> npt.NDArray[np.intp]:
    """Order the rows of one front so that the first k rows are well spread along it, for every k.

    Both objectives are scaled to the range of the front. The first row has the largest sum of both; each next row has
    the largest L1 distance to its nearest row among the earlier ones. A tie goes to the row that is better in the first
    objective; the input order decides only between equal rows.

    Args:
        values: (n, 2) finite objectives of one front, n > 0.
        maximize: for each objective, whether more is better.

    Returns:
        (n,) the indices of the rows in the new order.
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
