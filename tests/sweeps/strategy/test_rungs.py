"""`sweeps.strategy.rungs` against brute force (ranks from removing one front after another) and a truth table."""

from fractions import Fraction
from itertools import product
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.strategy.rungs import default_rungs, goes_on, spread

DIRECTIONS = list(product((True, False), repeat=2))
coordinates = st.integers(-6, 6).map(float)
rows = st.tuples(coordinates, coordinates)
clouds = st.lists(rows, min_size=1, max_size=12, unique=True)
crowds = st.lists(rows, min_size=1, max_size=12)  # rows may be equal
shares = st.fractions(Fraction(1, 20), 1, max_denominator=20)
directions = st.sampled_from(DIRECTIONS)


def dominates(a, b, maximize):
    """The definition: nowhere worse, somewhere better."""
    signed = [(x, y) if up else (-x, -y) for x, y, up in zip(a, b, maximize, strict=True)]
    return all(x >= y for x, y in signed) and any(x > y for x, y in signed)


def peeled(values, maximize):
    """The rank of each row: 0 for the front, 1 for the front of the remaining rows, and so on."""
    ranks, left, rank = {}, set(range(len(values))), 0
    while left:
        front = {i for i in left if not any(dominates(values[j], values[i], maximize) for j in left)}
        ranks.update(dict.fromkeys(front, rank))
        left, rank = left - front, rank + 1
    return [ranks[i] for i in range(len(values))]


def survivors(values, keep, maximize=(True, True)):
    return {tuple(row) for i, row in enumerate(values) if goes_on(values, i, float(keep), maximize)}


# Which trials continue


@pytest.mark.parametrize(
    ("values", "keep", "wanted"),
    [
        ([(5, 5)], 0.1, [True]),  # the first trial at a rung
        ([(5, 5), (6, 6)], 0.5, [False, True]),
        ([(5, 5), (4, 4)], 0.5, [True, False]),
        ([(5, 5), (4, 6)], 0.5, [True, False]),  # neither dominates: the better one in the first objective
        ([(4, 6), (5, 5)], 0.5, [False, True]),
        ([(1, 1), (2, 2), (3, 3)], 0.5, [False, False, True]),  # half of three is one
        ([(1, 1), (2, 2), (3, 3), (4, 4)], 0.5, [False, False, True, True]),
        ([(1, 9), (9, 1), (8, 8), (0, 0)], 0.5, [False, True, True, False]),  # the balanced row and the farthest
        ([(1, 9), (9, 1), (8, 8), (0, 0)], 0.75, [True, True, True, False]),
        ([(1, 9), (9, 1), (8, 8), (0, 0)], 0.25, [False, False, True, False]),
        ([(3, 3), (3, 3), (1, 1)], 0.34, [True, False, False]),  # of equal rows the earlier one
        ([(3, 3), (1, 1), (2, 2)] * 2, 0.5, [True, False, True, True, False, False]),
    ],
)
def test_which_trials_go_on(values, keep, wanted):
    assert [goes_on(values, i, keep) for i in range(len(values))] == wanted


@given(crowds, shares, directions)
def test_as_many_go_on_as_there_are_places(values, keep, maximize):
    going = sum(goes_on(values, i, float(keep), maximize) for i in range(len(values)))
    assert going == max(1, floor(keep * len(values)))


def test_a_share_that_is_inexact_in_binary_is_not_rounded_down():
    """0.29 x 100 is 28.999999999999996."""
    assert sum(goes_on([(i, i) for i in range(100)], i, 0.29) for i in range(100)) == 29


@given(crowds, shares, directions)
def test_no_trial_is_stopped_in_favour_of_one_with_a_worse_rank(values, keep, maximize):
    ranks = peeled(values, maximize)
    going = [goes_on(values, i, float(keep), maximize) for i in range(len(values))]
    worst = max(rank for rank, on in zip(ranks, going, strict=True) if on)
    assert all(on or rank >= worst for rank, on in zip(ranks, going, strict=True))


@given(crowds, directions)
def test_all_trials_go_on_if_keep_is_1(values, maximize):
    assert all(goes_on(values, i, 1, maximize) for i in range(len(values)))


@given(rows, shares, directions)
def test_the_first_trial_at_a_rung_goes_on(row, keep, maximize):
    assert goes_on([row], 0, float(keep), maximize)


@given(crowds, shares, directions)
def test_a_trial_that_is_best_in_both_objectives_goes_on(values, keep, maximize):
    best = tuple(7.0 if up else -7.0 for up in maximize)
    assert goes_on([*values, best], len(values), float(keep), maximize)


@given(clouds, shares, directions, st.randoms())
def test_the_order_of_the_rows_does_not_matter(values, keep, maximize, random):
    shuffled = random.sample(values, len(values))
    assert survivors(shuffled, keep, maximize) == survivors(values, keep, maximize)


@given(clouds, directions, st.integers(0, 3))
def test_if_ranks_decide_the_scales_do_not_matter(values, maximize, last):
    """The cut lies between two ranks: a monotone change of the objectives does not change the decision."""
    ranks = peeled(values, maximize)
    keep = sum(rank <= last for rank in ranks) / len(values)
    bent = [(np.exp(x), y**3 + 5 * y) for x, y in values]
    for cloud in (values, bent):
        assert [goes_on(cloud, i, keep, maximize) for i in range(len(values))] == [rank <= last for rank in ranks]


@given(clouds, shares, directions)
def test_units_do_not_matter(values, keep, maximize):
    wanted = [goes_on(values, i, float(keep), maximize) for i in range(len(values))]
    scaled = np.array(values) * [1024, 0.25] + [16, -8]  # exact in binary
    assert [goes_on(scaled, i, float(keep), maximize) for i in range(len(values))] == wanted


@given(clouds, shares, directions, st.tuples(st.booleans(), st.booleans()))
def test_minimising_an_objective_is_maximising_its_negative(values, keep, maximize, mirrored):
    signs = np.where(mirrored, -1.0, 1.0)
    turned = [up != mirror for up, mirror in zip(maximize, mirrored, strict=True)]
    wanted = [goes_on(values, i, float(keep), maximize) for i in range(len(values))]
    assert [goes_on(np.array(values) * signs, i, float(keep), turned) for i in range(len(values))] == wanted


@pytest.mark.parametrize(
    ("values", "keep", "message"),
    [
        ([(1, np.nan)], 0.5, "finite"),
        ([(1, 1), (np.inf, 1)], 0.5, "finite"),
        ([1.0, 2.0], 0.5, r"\(n, 2\)"),
        ([(1, 1, 1)], 0.5, r"\(n, 2\)"),
        ([(1, 1)], 0, r"keep must be in \(0, 1\]"),
        ([(1, 1)], 1.01, r"keep must be in \(0, 1\]"),
        ([(1, 1)], np.nan, r"keep must be in \(0, 1\]"),
    ],
)
def test_invalid_arguments_are_refused(values, keep, message):
    with pytest.raises(ValueError, match=message):
        goes_on(values, 0, keep)


# Spread along a front


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([(5, 5)], [0]),
        ([(0, 4), (4, 0)], [1, 0]),
        ([(0, 9), (8, 8), (9, 0), (4, 8.5)], [1, 2, 0, 3]),
        ([(0, 9), (1, 8), (8, 1), (9, 0)], [3, 0, 2, 1]),
        ([(3, 3), (3, 3), (3, 3)], [0, 1, 2]),
    ],
)
def test_a_front_is_spread_out(values, wanted):
    assert spread(values).tolist() == wanted


@given(crowds, directions)
def test_a_spread_holds_every_row_once_and_each_row_is_farthest_from_those_before(values, maximize):
    order = spread(values, maximize).tolist()
    assert sorted(order) == list(range(len(values)))
    better = np.array(values) * np.where(maximize, 1.0, -1.0)
    scaled = (better - better.min(axis=0)) / np.where(np.ptp(better, axis=0) > 0, np.ptp(better, axis=0), 1.0)
    assert scaled[order[0]].sum() == scaled.sum(axis=1).max()  # the best balanced row comes first
    for place in range(1, len(order)):
        distance = np.abs(scaled[:, None] - scaled[order[:place]]).sum(axis=2).min(axis=1)
        assert distance[order[place]] == max(distance[i] for i in order[place:])


# Default rungs


@pytest.mark.parametrize(
    ("epochs", "wanted"),
    [
        (1, ()),
        (2, ()),
        (3, (2,)),
        (4, (2,)),
        (7, (2, 4)),
        (12, (2, 6)),
        (18, (3, 9)),
        (19, (4, 10)),
        (52, (9, 26)),
    ],
)
def test_default_rungs(epochs, wanted):
    assert default_rungs(epochs) == wanted


def test_rungs_rise_between_the_second_epoch_and_the_last():
    for epochs in range(1, 1000):
        found = default_rungs(epochs)
        assert list(found) == sorted(set(found))
        assert all(2 <= rung < epochs for rung in found)
