"""`sweeps.report.settings`: where lines and markers lie, and which setting decides."""

from dataclasses import replace

import numpy as np
import pytest

from search_spaces.dimensions import Choices, Range
from sweeps.report.settings import _height, _ticks, importance_of, ordered, parallel_figure, slice_figure
from sweeps.report.style import SCALE
from sweeps.storage.measures import MEASURES
from tests.sweeps.searching import result, train

WORST, MIOU = MEASURES["worst_iou"], MEASURES["miou"]
T, LR = Range(low=0.1, high=10, log=True), Range(low=0.0, high=1.0)
LOSS = Choices(choices=["class_tilt", "image_tilt", "mcce"])


@pytest.fixture
def made(begin):
    """Make a trial with these settings and this worst IoU."""
    search = begin(trials=1, confirm=0)
    one = train(search, search.next(), (0.5, 0.1))

    def make(number, worst, stopped=False, **params):
        state = type(one.state)["PRUNED"] if stopped else one.state
        return replace(one, number=number, params=params, results=(result(1, 0.5, worst),), state=state)

    return make


@pytest.mark.parametrize(
    ("dimension", "value", "height"),
    [
        (T, 0.1, 0.0),
        (T, 1, 0.5),
        (T, 10, 1.0),
        (LR, 0.25, 0.25),
        (LOSS, "image_tilt", 0.5),
        (Choices(choices=[1]), 1, 0.5),
        (T, None, None),
    ],
)
def test_where_a_value_lies_on_its_axis(dimension, value, height):
    assert _height(dimension, value) == (None if height is None else pytest.approx(height))


def test_axes_have_their_ends_and_their_middle():
    assert _ticks(T) == [("0.1", 0.0), ("1", pytest.approx(0.5)), ("10", 1.0)]
    assert [text for text, _ in _ticks(LOSS)] == ["class_tilt", "image_tilt", "mcce"]


def test_the_best_lines_lie_on_top(made):
    low, high, early = made(0, 0.1), made(1, 0.3), made(2, 0.4, stopped=True)
    assert [one.number for one in ordered([high, low, early], WORST)] == [2, 0, 1]
    assert [one.number for one in ordered([low, high, early], MEASURES["std_iou"])] == [2, 0, 1]  # less is better


def test_a_line_passes_through_settings_and_measures(made):
    trials = [made(0, 0.1, t=0.1, lr=0.5), made(1, 0.3, lr=1.0)]
    first, second = parallel_figure(trials, {"t": T, "lr": LR}, [MIOU, WORST]).data
    assert list(first.y) == [0.0, 0.5, 0.5, 0.0]  # mIoU is equal: the middle
    assert list(second.y) == [None, 1.0, 0.5, 1.0]
    assert (first.line.color, second.line.color) == (SCALE[0], SCALE[-1])
    std = [made(0, 0.1, t=0.1), made(1, 0.3, t=1.0)]  # the second is more even, and less is better
    assert [line.line.color for line in parallel_figure(std, {"t": T}, [MEASURES["std_iou"]]).data] == [
        SCALE[0],
        SCALE[-1],
    ]


def test_a_slice_shows_the_trials_that_have_the_setting(made):
    trials = [made(0, 0.1, t=0.1), made(1, 0.3, stopped=True, t=2.0), made(2, 0.2, lr=1.0)]
    (markers,) = slice_figure(trials, "t", T, WORST).data
    assert list(markers.x) == [0.1, 2.0]
    assert list(markers.y) == pytest.approx([0.1, 0.3])
    assert [symbol.endswith("-open") for symbol in markers.marker.symbol] == [False, True]


def test_the_setting_that_decides_is_more_important(made):
    rng = np.random.default_rng(0)
    settings = zip((10 ** rng.uniform(-1, 1, 40)).tolist(), rng.uniform(0, 1, 40).tolist(), strict=True)
    trials = [made(n, 0.3 - 0.1 * abs(np.log10(t)), t=t, lr=lr) for n, (t, lr) in enumerate(settings)]
    found = importance_of(trials, {"t": T, "lr": LR}, WORST)
    assert found["t"] > 0.8
    assert sum(found.values()) == pytest.approx(1)
    assert importance_of(trials[:9], {"t": T, "lr": LR}, WORST) == {}
    assert importance_of(trials, {"t": T}, WORST) == {}
