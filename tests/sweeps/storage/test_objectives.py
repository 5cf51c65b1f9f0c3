"""`sweeps.storage.measures` and `objectives`: measures by name, the pair, and the plan that holds them."""

import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from sweeps.storage.measures import FINE_MEASURES, MEASURES, TiltedIoU, is_objective, measure_named
from sweeps.storage.objectives import Floor, Objectives
from sweeps.storage.plan import Plan
from tce_core.errors import UserError
from tests.sweeps.searching import PLAN, ious

CLASSES = ("road", "wall", "traffic light")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("miou", 0.4),
        ("worst_iou", 0.1),
        ("bottom25_iou", 0.1),
        ("std_iou", math.sqrt((0.3**2 + 0.1**2 + 0.2**2) / 2)),
        ("iou:wall", 0.1),
        ("iou:traffic light", 0.5),
    ],
)
def test_a_measure_has_the_value_of_the_class_ious(name, wanted):
    assert measure_named(name, CLASSES).value(ious(1, 0.6, 0.1, 0.5)) == pytest.approx(wanted)


@pytest.mark.parametrize("name", FINE_MEASURES)
def test_a_fine_measure_is_looked_up_and_is_nan_where_it_was_not_recorded(name):
    measure = measure_named(name, CLASSES)
    assert measure.value(SimpleNamespace(measures={name: 0.25})) == 0.25
    assert math.isnan(measure.value(ious(1, 0.6, 0.1, 0.5)))


def test_the_class_that_leads_may_be_absent():
    assert math.isnan(measure_named("iou:wall", CLASSES).value(ious(1, 0.6, math.nan, 0.5)))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("iou:Wal", "objective 'iou:Wal': no class 'Wal'; nearest: wall; it is one of road, wall, traffic light"),
        ("iou:zebra", "objective 'iou:zebra': no class 'zebra'; it is one of road, wall, traffic light"),
        ("wall", "objective 'wall': it is one of worst_iou, miou,"),
    ],
)
def test_an_unknown_name_is_refused_in_one_line(name, line):
    with pytest.raises(UserError) as caught:
        measure_named(name, CLASSES)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_every_measure_and_every_class_can_lead():
    assert all(map(is_objective, [*MEASURES, *FINE_MEASURES, "iou:wall", "iou:iou:"]))
    assert not any(map(is_objective, ["accuracy", "wall", "iou:", "iou", ""]))


@pytest.mark.parametrize(
    ("lead", "pair", "guard"),
    [
        ("worst_iou", ("miou", "worst_iou"), "miou"),
        ("miou", ("miou", "worst_iou"), "worst_iou"),
        ("iou:wall", ("miou", "iou:wall"), "miou"),
        ("worst_recall", ("miou", "worst_recall"), "miou"),
        ("std_iou", ("miou", "std_iou"), "miou"),
    ],
)
def test_miou_is_always_one_of_the_two(lead, pair, guard):
    objectives = Objectives(lead, 0.01, CLASSES)
    assert tuple(measure.name for measure in objectives.pair) == pair
    assert (objectives.lead.name, objectives.guard.name) == (lead, guard)
    assert objectives.maximize == (True, lead != "std_iou")


def test_the_values_of_a_class_and_miou():
    assert Objectives("iou:wall", 0.01, CLASSES).values(ious(1, 0.6, 0.1, 0.5)) == pytest.approx((0.4, 0.1))


def test_the_guard_has_the_floor_of_the_allowance_unless_it_has_one_of_its_own():
    wall, guard = Floor("iou:wall", 0.3, False), Floor("miou", 0.5, False)
    assert Objectives("worst_iou", 0.02).all_floors == (Floor("miou", -0.02, True),)
    assert Objectives("worst_iou", 0.02, CLASSES, (wall,)).all_floors == (Floor("miou", -0.02, True), wall)
    assert Objectives("worst_iou", 0.02, CLASSES, (wall, guard)).all_floors == (wall, guard)
    assert Objectives("miou", 0.02, CLASSES, (guard,)).all_floors == (Floor("worst_iou", -0.02, True), guard)


def test_a_plan_keeps_its_objectives_as_json():
    plan = replace(PLAN, objective="iou:wall", classes=CLASSES, floors=(Floor("miou", -0.01, True),))
    again = Plan.from_json(json.loads(json.dumps(asdict(plan))))
    assert again == plan
    assert again.objectives == Objectives("iou:wall", plan.allowance, CLASSES, (Floor("miou", -0.01, True),))


def test_a_plan_that_was_recorded_before_there_were_floors_has_none():
    saved = asdict(PLAN)
    del saved["floors"], saved["classes"]
    assert Plan.from_json(json.loads(json.dumps(saved))) == PLAN


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(-200, -0.1))
def test_the_tilted_mean_of_ious_is_logsumexp(values, t):
    wanted = (logsumexp(t * np.array(values)) - math.log(len(values))) / t
    measure = TiltedIoU("tilted_iou", "", t=t)
    assert measure.value(ious(1, *values)) == pytest.approx(wanted, abs=1e-12 + 1e-14 / -t)
    assert measure.value(ious(1, math.nan, *values)) == measure.value(ious(1, *values))
    assert min(values) - 1e-12 <= measure.value(ious(1, *values)) <= min(values) + math.log(len(values)) / -t + 1e-12


def test_the_sampler_is_told_a_smooth_stand_in_for_the_worst_class():
    """The worst class has IoU 0 in both results, but only one other class of the first is near 0."""
    better, worse = ious(1, 0.0, 0.3, 0.4, 0.5), ious(1, 0.0, 0.0, 0.5, 0.7)
    for lead in ("worst_iou", "miou"):
        objectives = Objectives(lead, 0.01)
        assert objectives.values(better) == objectives.values(worse) == (pytest.approx(0.3), 0.0)
        one, two = objectives.told(better), objectives.told(worse)
        assert one[0] == two[0]
        assert one[1] > two[1] > 0
    assert Objectives("std_iou", 0.01).told(better) == Objectives("std_iou", 0.01).values(better)


def test_without_any_class_there_is_no_tilted_mean():
    assert math.isnan(TiltedIoU("tilted_iou", "").value(ious(1, math.nan, math.nan)))
