"""`sweeps.reporting.plots` and `sweeps.reporting.labels`: layers, positions and labels of the plot, in both formats."""

import math
import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sweeps.reporting.labels import LETTER, LINE, place_labels, points_along
from sweeps.reporting.plots import FrontPoint, _staircase, front_figure, save_front_pictures
from sweeps.strategy.pareto import non_dominated

LIMITS = (-1.0, 6.0)
grids = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8)


def trials(spots, y_minimize=False):
    front = non_dominated(spots, (True, not y_minimize))
    return [FrontPoint(i, "search", f"#{i}", x, y, bool(front[i])) for i, (x, y) in enumerate(spots)]


def sweep():
    baselines = [FrontPoint(i, "baseline", name, 0.48, 0.0) for i, name in enumerate(("MCCE", "focal", "dice"))]
    best = FrontPoint(
        3, "search", "class_tilt t=1 <b>$x$", 0.53, 0.06, True, True, {"epochs": "12"}, (0.51, 0.54), (0.0, 0.05)
    )
    return [*baselines, best, FrontPoint(4, "search", "crashed", math.nan, 0.5), FrontPoint(5, "search", "#5", 0.4, 0)]


def traces(figure):
    return {trace.name: trace for trace in figure.data}


@settings(deadline=None)  # a busy machine must not fail the test
@given(grids, st.booleans())
def test_the_staircase_bounds_exactly_what_is_dominated(spots, y_minimize):
    x, y = _staircase(trials(spots, y_minimize), LIMITS, LIMITS, y_minimize)
    assert all(a == b or c == d for a, b, c, d in zip(x, x[1:], y, y[1:], strict=False))  # parallel to the axes
    assert (x[0], y[-1]) == (LIMITS[0], LIMITS[1] if y_minimize else LIMITS[0])  # starts and ends at the edges
    for column in np.arange(-0.5, 6.0):
        reached = [b for a, b in spots if a > column]
        levels = [b for a, c, b, d in zip(x, x[1:], y, y[1:], strict=False) if b == d and a < column < c]
        assert levels == ([min(reached) if y_minimize else max(reached)] if reached else [])


def test_every_group_is_drawn_and_in_the_legend():
    figure = front_figure(sweep(), title="camvid", y_name="worst IoU")
    drawn = traces(figure)
    groups = "95% interval", "Pareto front", "trial", "trial on the front", "MCCE", "focal", "dice", "recommended"
    assert tuple(drawn) == groups
    assert len({drawn[name].marker.symbol for name in ("MCCE", "focal", "dice")}) == 3
    assert list(drawn["trial"].x) == [0.4]  # a crashed trial is not drawn
    assert "star" in drawn["recommended"].marker.symbol
    assert figure.layout.title.text == "camvid"
    assert "fraction, higher is better" in figure.layout.xaxis.title.text
    assert (
        "worst IoU (fraction, lower"
        in front_figure([], "", y_name="worst IoU", y_minimize=True).layout.yaxis.title.text
    )


def test_the_text_under_the_pointer():
    (text,) = traces(front_figure(sweep(), title="camvid"))["recommended"].hovertext
    assert text.split("<br>") == [
        "<b>trial 3</b> class_tilt t=1 &lt;b&gt;$x$",  # a label is text and not markup
        "mIoU 0.5300 [0.5100, 0.5400]",
        "worst-class IoU 0.0600 [0.0000, 0.0500]",
        "epochs: 12",
    ]


def test_an_interval_that_does_not_contain_its_point_is_drawn_unchanged():
    bars = traces(front_figure(sweep(), title=""))["95% interval"]
    np.testing.assert_array_equal(bars.x, [0.51, 0.54, np.nan, 0.53, 0.53, 0.53])
    np.testing.assert_array_equal(bars.y, [0.06, 0.06, 0.06, 0.0, 0.05, np.nan])


def test_points_on_the_same_spot_share_a_label():
    labels = [annotation.text for annotation in front_figure(sweep(), title="").layout.annotations]
    assert labels == ["class_tilt t=1 &lt;b&gt;$x$", "MCCE, focal, dice"]


def test_all_points_and_intervals_lie_within_the_axes():
    figure = front_figure(sweep(), title="")
    (left, right), (low, high) = figure.layout.xaxis.range, figure.layout.yaxis.range
    assert left < 0.4 < 0.54 < right
    assert low < 0.0 < 0.06 < high


EARLY = FrontPoint(9, "search", "#9", 0.3, 0.02, stopped=True)


@pytest.mark.parametrize("points", [[], sweep(), sweep()[3:4], [EARLY], trials([(0.5, 0.5)] * 3)], ids=str)
def test_the_png_is_a_picture_and_leaves_no_global_state(tmp_path, points):
    save_front_pictures(points, tmp_path / "front.png", title="camvid $t$")
    with Image.open(tmp_path / "front.png") as image:
        assert image.size == (2000, 1360)
        assert np.asarray(image.convert("L")).std() > 1  # not blank
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def stopped(x, y, role="search", number=9):
    details, intervals = {"epochs": "2 of 7"}, {"interval_x": (x - 0.01, x + 0.01), "interval_y": (y, y)}
    return FrontPoint(number, role, f"#{number}", x, y, stopped=True, details=details, **intervals)


def test_stopped_trials_are_small_faint_and_hollow_and_show_their_epochs():
    figure = front_figure([*sweep(), stopped(0.45, 0.03), stopped(0.42, 0.02, "baseline", 10)], title="")
    drawn = traces(figure)
    dots = drawn["stopped early"]
    assert (list(dots.x), list(dots.y)) == ([0.45, 0.42], [0.03, 0.02])
    assert dots.marker.symbol == "circle-open"
    assert all(
        dots.marker.size < trace.marker.size for trace in figure.data if trace.mode == "markers" and trace != dots
    )
    assert dots.marker.opacity < 1
    assert "epochs: 2 of 7" in dots.hovertext[0].split("<br>")
    assert figure.data[2] == dots  # behind all other markers
    assert "#10" not in drawn  # a stopped baseline is not one to compare with
    assert not any("#" in annotation.text for annotation in figure.layout.annotations)


def test_stopped_trials_change_neither_the_front_line_nor_the_intervals():
    without, beside = (traces(front_figure(points, "")) for points in (sweep(), [*sweep(), stopped(0.52, 0.05)]))
    for name in ("Pareto front", "95% interval"):
        np.testing.assert_array_equal(beside[name].x, without[name].x)
        np.testing.assert_array_equal(beside[name].y, without[name].y)


def test_far_stopped_trials_leave_half_of_each_axis_to_the_others_and_are_counted():
    near, far, low = stopped(0.35, 0.03), stopped(0.1, 0.03), stopped(0.5, -0.9)
    figure = front_figure([*sweep(), near, far, low], title="")
    (left, right), bottom = figure.layout.xaxis.range, figure.layout.yaxis.range[0]
    assert far.x < left < near.x
    assert low.y < bottom
    assert right - left < 1.16 * 2 * (0.54 - 0.4) + 1e-9  # 1.16: the room at both ends
    dots = traces(figure)["stopped early (2 out of view)"]
    assert list(dots.x) == [near.x, far.x, low.x]  # zooming out shows all three


def test_a_single_complete_trial_is_shown_with_the_stopped_ones_around_it():
    figure = front_figure([FrontPoint(0, "baseline", "mcce", 0.5, 0.1), stopped(0.42, 0.05)], title="")
    assert "stopped early" in traces(figure)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(150, 650), st.integers(100, 300)), min_size=1, max_size=5))
def test_labels_do_not_collide_and_stay_inside(anchors):
    texts, font = ["class-uniform", "MCCE", "focal", "tversky", "t=1"][: len(anchors)], 11
    offsets = place_labels(anchors, texts, anchors, room=(800, 400), font=font)
    boxes = [
        (a + right, b + up, LETTER * font * len(text) / 2, LINE * font / 2)
        for (a, b), (right, up), text in zip(anchors, offsets, texts, strict=True)
    ]
    assert all(w <= x <= 800 - w and h <= y <= 400 - h for x, y, w, h in boxes)
    for (x, y, w, h), (u, v, p, q) in combinations(boxes, 2):
        assert abs(x - u) >= w + p or abs(y - v) >= h + q - 1e-9


def test_a_label_avoids_obstacles():
    above = [(400.0 + dx, 219.0) for dx in range(-20, 21, 4)]
    ((_, up),) = place_labels([(400, 200)], ["MCCE"], above, room=(800, 400), font=11)
    assert up <= 0


def test_points_along_a_line_are_close_and_include_its_vertices():
    points = points_along([(0, 0), (10, 0), (10, 4)], step=3)
    assert (points[0], points[-1]) == ((0, 0), (10, 4))
    assert (10, 0) in points
    assert max(map(math.dist, points, points[1:])) <= 3
    assert points_along([], step=1) == []


def adjusted():
    """A baseline, and a trial with two strengths of logit adjustment."""
    return [
        FrontPoint(0, "baseline", "mcce", 0.50, 0.10),
        FrontPoint(0, "baseline", "mcce τ=0.5", 0.52, 0.20, weaker=(0.50, 0.10)),
        FrontPoint(1, "search", "t=1", 0.54, 0.10, on_front=True),
        FrontPoint(1, "search", "t=1 τ=0.5", 0.53, 0.30, on_front=True, recommended=True, weaker=(0.54, 0.10)),
        FrontPoint(1, "search", "t=1 τ=1", 0.51, 0.35, on_front=True, weaker=(0.53, 0.30)),
    ]


def test_a_line_leads_from_each_plain_model_through_its_adjustments():
    figure = front_figure(adjusted(), title="")
    drawn = traces(figure)
    line = drawn["logit adjustment"]
    np.testing.assert_array_equal(line.x, [0.50, 0.52, np.nan, 0.54, 0.53, np.nan, 0.53, 0.51, np.nan])
    np.testing.assert_array_equal(line.y, [0.10, 0.20, np.nan, 0.10, 0.30, np.nan, 0.30, 0.35, np.nan])
    assert line.line.color != drawn["Pareto front"].line.color
    assert drawn["mcce"].marker.symbol != drawn["mcce τ=0.5"].marker.symbol
    assert [annotation.text for annotation in figure.layout.annotations] == ["t=1 τ=0.5", "mcce", "mcce τ=0.5"]
    assert "logit adjustment" not in traces(front_figure(sweep(), title=""))


def test_labels_avoid_the_lines_of_adjustment():
    """The line goes straight up from the baseline, where its label would be without it."""
    plain = FrontPoint(0, "baseline", "mcce", 0.5, 0.1)
    above = FrontPoint(1, "search", "#1", 0.5, 0.4)

    def offset(*points):
        label = next(one for one in front_figure(points, "").layout.annotations if one.text == "mcce")
        return label.ax, label.ay

    assert offset(plain, above)[0] == 0
    assert abs(offset(plain, replace(above, weaker=(0.5, 0.1)))[0]) > 15
