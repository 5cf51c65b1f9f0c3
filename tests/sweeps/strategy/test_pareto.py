"""`sweeps.strategy.pareto` against brute force: dominance in every small case, and areas counted in unit cells."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweeps.strategy.pareto import GrowingFront, hypervolume, hypervolume_history, non_dominated, recommend

DIRECTIONS = list(product((True, False), repeat=2))
clouds = arrays(np.float64, st.tuples(st.integers(0, 12), st.just(2)), elements=st.integers(0, 6).map(float))


def dominates(a, b, maximize):
    """The definition: nowhere worse, somewhere better."""
    signed = [(x, y) if up else (-x, -y) for x, y, up in zip(a, b, maximize, strict=True)]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


def cells_dominated(values, reference, maximize):
    """Area from counting the unit cells of the integer grid 0..6 that lie between the reference and a point."""
    corners = [
        [(low, low + 1) if up else (low + 1, low) for low in range(-1, 8)] for up in maximize
    ]  # (nearer the reference, farther)
    area = 0
    for (near_x, far_x), (near_y, far_y) in product(*corners):
        in_reach = all(
            near >= r if up else near <= r for near, r, up in zip((near_x, near_y), reference, maximize, strict=True)
        )
        covered = any(
            (x >= far_x if maximize[0] else x <= far_x) and (y >= far_y if maximize[1] else y <= far_y)
            for x, y in values
        )
        area += in_reach and covered
    return area


@pytest.mark.parametrize("maximize", DIRECTIONS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_dominance_in_every_case_of_a_small_grid(n, maximize):
    grid = list(product((0.0, 1.0, 2.0), repeat=2))
    for values in product(grid, repeat=n):
        wanted = [not any(dominates(other, point, maximize) for other in values) for point in values]
        assert non_dominated(values, maximize).tolist() == wanted, values


def test_equal_rows_are_all_kept():
    assert non_dominated([[1, 1], [1, 1], [0, 1]]).tolist() == [True, True, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_ignored(bad):
    values = [[bad, 9.0], [1.0, 1.0], [9.0, bad], [0.0, 2.0]]
    assert non_dominated(values).tolist() == [False, True, False, True]
    assert hypervolume(values, (0, 0)) == 1.0 == hypervolume([values[1]], (0, 0))
    assert recommend([bad, 0.1], [1.0, 1.0], 0.0) == 1
    assert recommend([0.5, 0.1], [bad, 1.0], 0.0) == 1


def test_no_points_give_an_empty_front():
    assert non_dominated([]).shape == (0,)
    assert hypervolume([], (0, 0)) == 0.0
    assert hypervolume_history([], (0, 0)).shape == (0,)
    assert recommend([], [], 0.0) is None


@given(clouds, st.tuples(st.integers(0, 6), st.integers(0, 6)), st.sampled_from(DIRECTIONS))
def test_hypervolume_is_the_area_of_the_counted_cells(values, reference, maximize):
    assert hypervolume(values, reference, maximize) == pytest.approx(cells_dominated(values, reference, maximize))


@given(clouds, st.sampled_from(DIRECTIONS))
def test_hypervolume_history_never_falls_and_ends_at_the_total(values, maximize):
    reference = [0.0 if up else 6.0 for up in maximize]
    history = hypervolume_history(values, reference, maximize)
    assert (np.diff(history) >= 0).all()
    for i, so_far in enumerate(history):
        assert so_far == hypervolume(values[: i + 1], reference, maximize)
    if len(values):
        assert history[-1] == pytest.approx(hypervolume(values[non_dominated(values, maximize)], reference, maximize))


@given(clouds, st.sampled_from(DIRECTIONS))
def test_a_growing_front_is_the_front_of_the_points_so_far(values, maximize):
    reference = [0.0 if up else 6.0 for up in maximize]
    front = GrowingFront(reference, maximize)
    for i, point in enumerate(values):
        earlier = values[:i]
        grew = front.add(point)
        assert front.places == np.flatnonzero(non_dominated(values[: i + 1], maximize)).tolist()
        assert front.volume == hypervolume(values[: i + 1], reference, maximize)
        assert grew == (not any(dominates(e, point, maximize) or tuple(e) == tuple(point) for e in earlier))


@pytest.mark.parametrize(
    ("lead", "guard", "floor", "wanted"),
    [
        ([0.1, 0.5, 0.9], [0.8, 0.7, 0.2], 0.6, 1),  # the best lead has too low a guard
        ([0.1, 0.5, 0.9], [0.8, 0.7, 0.6], 0.6, 2),  # a guard on the floor is acceptable
        ([0.5, 0.5, 0.1], [0.7, 0.8, 0.9], 0.6, 1),  # a tie goes to the higher guard
        ([0.5, 0.5, 0.5], [0.7, 0.8, 0.8], 0.6, 1),  # a tie in both goes to the lower index
        ([0.1, 0.5], [0.5, 0.4], 0.6, None),
        ([np.nan, np.nan], [0.9, 0.9], 0.6, None),
    ],
)
def test_recommend(lead, guard, floor, wanted):
    assert recommend(lead, guard, floor) == wanted


def test_recommend_where_less_of_the_lead_is_better():
    assert recommend([0.3, 0.1, 0.05], [0.8, 0.7, 0.2], 0.6, lead_maximize=False) == 1


@given(clouds, st.integers(0, 6), st.booleans())
def test_no_qualified_trial_dominates_the_recommended_one(values, floor, up):
    index = recommend(values[:, 0], values[:, 1], floor, lead_maximize=up)
    allowed = values[values[:, 1] >= floor]
    assert (index is None) == (len(allowed) == 0)
    if index is not None:
        assert not any(dominates(other, values[index], (up, True)) for other in allowed)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: non_dominated([[1, 2, 3]]), r"must be \(n, 2\)"),
        (lambda: hypervolume([1.0, 2.0], (0, 0)), r"must be \(n, 2\)"),
        (lambda: hypervolume([[1, 2]], (0, np.nan)), "two finite numbers"),
        (lambda: hypervolume([[1, 2]], 0.0), "two finite numbers"),
        (lambda: recommend([1.0], [1.0, 2.0], 0.0), "has shape"),
        (lambda: recommend([1.0], [1.0], float("nan")), "guard_floor"),
    ],
)
def test_invalid_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
