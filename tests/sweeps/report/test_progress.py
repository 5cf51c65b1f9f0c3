"""`sweeps.report.progress`: learning curves, and classes that were learnt and then unlearnt."""

import math
from dataclasses import replace

import pytest

from sweeps.report.progress import curves_figure, growth_figure, unlearnt_classes
from sweeps.storage.measures import MEASURES
from sweeps.strategy.points import Point
from tests.sweeps.searching import ious, train


def trained(begin, *by_epoch):
    search = begin(trials=1, confirm=0)
    trial = search.next()
    results = tuple(ious(epoch, *values) for epoch, values in enumerate(by_epoch, start=1))
    return replace(trial, results=results)


@pytest.mark.parametrize(
    ("course", "found"),
    [
        ((0.0, 0.1, 0.04), (0.1, 2, 0.04)),
        ((0.0, 0.1, 0.05), None),  # half of it is left
        ((0.0, 0.09, 0.0), None),  # it was never learnt
        ((0.3, math.nan, 0.1), (0.3, 1, 0.1)),
        ((0.1, 0.2, 0.3), None),
        ((0.3, 0.2, math.nan), (0.3, 1, 0.0)),
    ],
)
def test_a_class_that_is_lost_is_found(begin, course, found):
    trial = trained(begin, *((0.9, one, 0.8, 0.8) for one in course))
    alarms = unlearnt_classes([trial], ["road", "rider", "car", "sky"])
    assert [(one.name, one.peak, one.epoch, one.last) for one in alarms] == ([("rider", *found)] if found else [])


def test_the_largest_loss_comes_first(begin):
    trial = trained(begin, (0.9, 0.5, 0.3, 0.2), (0.1, 0.1, 0.1, 0.2))
    assert [one.name for one in unlearnt_classes([trial], "abcd")] == ["a", "b", "c"]


def test_curves_show_a_measure_at_each_epoch(begin):
    trial = trained(begin, (0.4, 0.0, 0.4, 0.4), (0.5, 0.1, 0.5, 0.5))
    (line,) = curves_figure([Point(trial, 0.0)], MEASURES["worst_iou"]).data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [0.0, 0.1]


def test_the_front_grows_over_epochs(begin):
    search = begin(trials=2, confirm=0, rungs=())
    for measures in ((0.5, 0.1), (0.5, 0.1), (0.6, 0.2), (0.4, 0.1)):
        train(search, search.next(), measures)
    (line,) = growth_figure(search.outcome).data
    assert list(line.x) == [4, 8, 12, 16]
    assert list(line.y) == pytest.approx([0.05, 0.05, 0.12, 0.12])
