"""`sweeps.reporting.front`: the points of the plot and the empty table."""

import pytest

from sweeps.reporting.front import front_points, front_table
from tests.sweeps.shown import NAMES, OUTDONE, Sweep


def test_points_of_the_plot(storage):
    sweep = Sweep(storage)
    assert front_points(sweep.outcome, NAMES) == []
    assert front_table(sweep.outcome, NAMES) == {"columns": [], "data": []}
    points = front_points(sweep.run().outcome, NAMES)
    assert [point.number for point in points] == [0, 1, 2, 3, 5]  # without the failed trial and the confirmation run
    assert [point.role for point in points] == ["baseline", "search", "search", "search", "search"]
    assert [point.on_front for point in points] == [False, False, True, True, False]
    assert [point.recommended for point in points] == [False, False, True, False, False]
    assert [point.stopped for point in points] == [False, False, False, False, True]
    assert points[2].details == {"loss": "class_tilt", "t": "1", "worst class": "rider (0.3000)", "epochs": "3 of 3"}
    assert (points[4].x, points[4].y) == pytest.approx((0.6, 0.3))
    assert points[4].details["epochs"] == "1 of 3"
    assert points[4].details["stopped"] == OUTDONE
    assert points[2].interval_x == pytest.approx((0.47, 0.50))
    assert points[2].interval_y == pytest.approx((0.27, 0.31))
