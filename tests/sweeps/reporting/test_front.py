"""`sweeps.reporting.front`: the points of the plot and the table."""

from dataclasses import replace

import pytest

from sweeps.reporting.front import front_points, front_table
from sweeps.strategy.outcome import Outcome
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


def test_adjusted_models_are_points_beside_their_plain_ones(storage):
    """Drawn are all plain models, the front, the recommended point and the baseline as it should be adjusted."""
    outcome = Sweep(storage).run_adjusted().outcome
    points = front_points(outcome, NAMES)
    assert [point.label for point in points] == ["mcce", "mcce τ=0.5", "t=1", "t=1 τ=0.5", "t=1 τ=1", "t=2"]
    assert [point.recommended for point in points] == [False, False, False, True, False, False]
    assert [point.on_front for point in points] == [False, False, True, True, True, False]
    assert [point.y for point in points] == pytest.approx([0.10, 0.15, 0.12, 0.30, 0.35, 0.05])
    assert [point.weaker for point in points] == [
        None,
        (points[0].x, points[0].y),
        None,
        (points[2].x, points[2].y),
        (points[3].x, points[3].y),
        None,
    ]
    assert "logit adjustment" not in points[2].details
    assert points[3].details["logit adjustment"] == "τ = 0.5"
    assert points[3].details["worst class"] == "rider (0.3000)"
    assert points[3].interval_y == pytest.approx((0.27, 0.31))


def test_adjusted_models_are_rows_of_the_table(storage):
    table = front_table(Sweep(storage).run_adjusted().outcome, NAMES)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    shown = [(row["number"], row["logit_adjustment"], row["on_front"], row["recommended"]) for row in rows]
    assert shown == [
        (1, 0.0, True, False),
        (1, 0.5, True, True),
        (1, 1.0, True, False),
        (0, 0.0, False, False),
        (0, 0.5, False, False),
        (2, 0.0, False, False),
    ]
    assert [row["miou"] for row in rows] == pytest.approx([0.52, 0.49, 0.40, 0.50, 0.48, 0.45])
    assert {row["label"] for row in rows} == {"mcce", "t=1", "t=2"}  # `tau` has a column of its own


def test_the_table_has_the_measure_that_leads(storage):
    sweep = Sweep(storage).run_adjusted()
    objectives = replace(sweep.outcome.objectives, objective="iou:rider", classes=NAMES)
    table = front_table(Outcome(sweep.record, objectives), NAMES)
    column = table["columns"].index("iou:rider")
    assert table["columns"][2:7] == ["miou", "worst_iou", "std_iou", "bottom25_iou", "iou:rider"]
    assert [row[column] for row in table["data"][:3]] == pytest.approx([0.12, 0.30, 0.35])
