"""Two objectives: dominance between trials, the quality of a front, and the trial to recommend.

Objectives are an (n, 2) array with one row per trial; `maximize` states for each column whether more is better. A row
that is not finite (a crashed trial) is never on the front, adds no hypervolume and is never recommended.
"""

from collections.abc import Sequence

import moocore
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BOTH_UP = (True, True)


def non_dominated(values: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> npt.NDArray[np.bool_]:
    """Mark the rows that no other row dominates.

    A row dominates another if it is at least as good in both objectives and better in one. Equal rows do not dominate
    each other, so all of them are kept.

    Returns:
        (n,) bool, True for the rows on the front.

    Raises:
        ValueError: `values` is not (n, 2).
    """
    points, finite = _rows(values)
    front = np.zeros(len(points), dtype=np.bool_)
    if finite.any():
        front[finite] = moocore.is_nondominated(points[finite], maximise=list(maximize), keep_weakly=True)
    return front


def hypervolume(values: npt.ArrayLike, reference: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> float:
    """Compute the area between the front and a reference point.

    Args:
        values: (n, 2) objectives.
        reference: (2,) a point that every acceptable trial beats in both objectives.
        maximize: for each objective, whether more is better.

    Returns:
        The area in the product of the two units; 0 if no row beats the reference in both objectives.

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
    """Return the hypervolume of the first 1, 2, …, n rows: (n,) float64, never falling. See `hypervolume`."""
    points, _ = _rows(values)
    front, volumes = GrowingFront(reference, maximize), []
    for row in points:
        front.add(row)
        volumes.append(front.volume)
    return np.array(volumes, dtype=np.float64)


class GrowingFront:
    """The front of points that arrive one by one. A new point is compared with the front alone, not with all points.

    Attributes:
        places: which of the points are on the front: the first point that was added has place 0.
        volume: hypervolume of the front.
    """

    def __init__(self, reference: npt.ArrayLike, maximize: Sequence[bool] = BOTH_UP) -> None:
        """`reference`: (2,) as in `hypervolume`."""
        self.reference, self.maximize = reference, maximize
        self.places: list[int] = []
        self.volume = hypervolume([], reference, maximize)
        self._added = 0
        self._points = np.empty((0, 2))

    def add(self, point: npt.ArrayLike) -> bool:
        """Add one point (2,), and return whether the front grew: no earlier point is equal or dominates it."""
        new = np.asarray(point, dtype=np.float64)
        repeated = bool((self._points == new).all(axis=1).any())
        points, places = np.vstack([self._points, new]), [*self.places, self._added]
        self._added += 1
        on_front = non_dominated(points, self.maximize)
        if not on_front[-1]:
            return False
        self._points = points[on_front]
        self.places = [place for place, on in zip(places, on_front, strict=True) if on]
        self.volume = hypervolume(self._points, self.reference, self.maximize)
        return not repeated


def recommend(lead: npt.ArrayLike, guard: npt.ArrayLike, guard_floor: float, lead_maximize: bool = True) -> int | None:
    """Choose the trial with the best lead among those whose guard is acceptable: the first of `ranking`, if any."""
    return next(iter(ranking(lead, guard, guard_floor, lead_maximize)), None)


def ranking(lead: npt.ArrayLike, guard: npt.ArrayLike, guard_floor: float, lead_maximize: bool = True) -> list[int]:
    """Order the trials whose guard is acceptable, the best lead first.

    A tie goes to the higher guard, then to the lower index. A trial with a NaN or an infinity never qualifies.

    Args:
        lead: (n,) the objective that leads the sweep, e.g. worst-class IoU.
        guard: (n,) the objective that must not fall too far, e.g. mIoU; more is better.
        guard_floor: the lowest acceptable guard; a guard equal to it is acceptable.
        lead_maximize: False if less of the lead is better, e.g. std over classes.

    Returns:
        The indices of the trials that qualify.

    Raises:
        ValueError: `lead` and `guard` are not both (n,), or the floor is NaN.
    """
    leads, guards = np.asarray(lead, dtype=np.float64), np.asarray(guard, dtype=np.float64)
    if leads.ndim != 1 or leads.shape != guards.shape:
        raise ValueError(f"lead has shape {leads.shape}, guard {guards.shape}; both must be (n,)")
    if np.isnan(guard_floor):
        raise ValueError("guard_floor is NaN")
    allowed = np.flatnonzero(np.isfinite(leads) & np.isfinite(guards) & (guards >= guard_floor))
    cost = -leads if lead_maximize else leads
    order = np.lexsort((allowed, -guards[allowed], cost[allowed]))  # the last key decides first
    return [int(index) for index in allowed[order]]


def _rows(values: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the values as (n, 2) float64 and a mask (n,) of the finite rows. An empty list gives n = 0."""
    points = np.asarray(values, dtype=np.float64)
    if points.size == 0:
        points = points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"objectives must be (n, 2), not {points.shape}")
    return points, np.logical_and(*np.isfinite(points.T))
