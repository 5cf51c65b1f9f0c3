"""Two objectives at once: who dominates whom, how good a front is, and which point of it to take.

Objectives come as a (n, 2) array, one row a trial, and `maximize` says of each column whether more is better. A row
that is not finite (a crashed trial) is on no front, adds no hypervolume and is never recommended.
"""

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BOTH_UP = (True, True)


def non_dominated(values: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> npt.NDArray[np.bool_]:
    """(n,) bool: the rows that no other row dominates, i.e. is as good in both objectives and better in one.

    Of several equal rows none dominates another, so all are kept.

    Raises:
        ValueError: `values` is not (n, 2).
    """
    points, finite = _rows(values)
    front = np.zeros(len(points), dtype=np.bool_)
    if finite.any():
        front[finite] = moocore.is_nondominated(points[finite], maximise=list(maximize), keep_weakly=True)
    return front


def hypervolume(values: npt.ArrayLike, reference: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> float:
    """The area that the rows dominate, as far as `reference` (2,): a point that every acceptable trial beats.

    In the product of the two units; 0 when no row beats the reference in both objectives.

    Raises:
        ValueError: `values` is not (n, 2), or the reference is not two finite numbers.
    """
    points, finite = _rows(values)
    corner = np.asarray(reference, dtype=np.float64)
    if corner.shape != (2,) or not np.isfinite(corner).all():
        raise ValueError(f"the reference must be two finite numbers, not {corner}")
    if not finite.any():
        return 0.0
    return float(moocore.hypervolume(points[finite], ref=corner, maximise=list(maximize)))


def hypervolume_history(values: npt.ArrayLike, reference: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> Floats:
    """(n,) float64: the hypervolume after each row, in the order of the rows; it never falls."""
    points, _ = _rows(values)
    front, volumes = points[:0], []
    for row in points:  # beside the front so far alone: the time grows with the rows, not with their square
        front = np.vstack([front, row])
        front = front[non_dominated(front, maximize)]
        volumes.append(hypervolume(front, reference, maximize))
    return np.array(volumes, dtype=np.float64)


def recommend(lead: npt.ArrayLike, guard: npt.ArrayLike, guard_floor: float, lead_maximize: bool = True) -> int | None:
    """Index of the trial with the best lead among those that keep the guard; None when none does.

    Args:
        lead: (n,) the objective that leads the sweep, e.g. worst-class IoU.
        guard: (n,) the objective that must not suffer for it, e.g. mIoU; more is better.
        guard_floor: the lowest guard that is acceptable; equal to it is acceptable.
        lead_maximize: False when less of the lead is better, e.g. std over classes.

    Ties go to the higher guard, then to the lower index. A row with a NaN or an infinity never qualifies.

    Raises:
        ValueError: the shapes are not (n,) twice, or the floor is NaN.
    """
    leads, guards = np.asarray(lead, dtype=np.float64), np.asarray(guard, dtype=np.float64)
    if leads.ndim != 1 or leads.shape != guards.shape:
        raise ValueError(f"lead has shape {leads.shape}, guard {guards.shape}; both must be (n,)")
    if np.isnan(guard_floor):
        raise ValueError("guard_floor is NaN")
    allowed = np.flatnonzero(np.isfinite(leads) & np.isfinite(guards) & (guards >= guard_floor))
    if allowed.size == 0:
        return None
    cost = -leads if lead_maximize else leads
    best = np.lexsort((allowed, -guards[allowed], cost[allowed]))  # the last key decides first
    return int(allowed[best[0]])


def _rows(values: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The points as (n, 2) float64, and (n,) which rows are finite. An empty list is no points."""
    points = np.asarray(values, dtype=np.float64)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"objectives must be (n, 2), not {points.shape}")
    return points, np.logical_and(*np.isfinite(points.T))
